"""The options of the group "mesh", each with a variable and an ini twin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PREFIX = "ISTIO_MC_"
OTHER_VARIABLES = ("ISTIO_MC_CACHE", "ISTIO_MC_HEARTBEAT_SECONDS")
"""Variables of ours that are no options."""


@dataclass(frozen=True)
class Option:
    """One option: ``--mesh-NAME``, ``ISTIO_MC_NAME`` and the ini setting ``mesh_NAME``.

    One without help is a reserved name: nothing shows it, and validation says what it waits for.
    """

    name: str
    help: str
    metavar: str = ""
    kind: Literal["string", "float"] = "string"

    @property
    def flag(self) -> str:
        """Its spelling on the command line."""
        return "--mesh-" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return PREFIX + self.name.upper()

    @property
    def variables(self) -> tuple[str, str]:
        """The variable, and the older one with a name that others use, too: ``MESH_NAME``."""
        return self.variable, "MESH_" + self.name.upper()

    @property
    def setting(self) -> str:
        """Its ini setting, and its attribute among pytest's options."""
        return "mesh_" + self.name

    @property
    def is_switch(self) -> bool:
        """Whether it is given without a value."""
        return not self.metavar


OPTIONS = (
    Option(
        "topology",
        "Certify a mesh of this topology, for instance multi-network-multi-primary (the README "
        "lists all), or one that a plugin adds; of several, one after the other; or of all. "
        "Without this option, --mesh-replay, --mesh-list or --mesh-plan the plugin does nothing.",
        "NAME[,NAME...]|all",
    ),
    Option(
        "provider",
        "Where the clusters come from: 'lab' (default) builds real ones on this machine and "
        "removes them again, 'attach' uses clusters that exist already, with Istio on them.",
        "NAME",
    ),
    Option(
        "contexts",
        "For attach: which kubeconfig context is which cluster of the mesh, "
        "as east=prod-a,west=prod-b.",
        "CLUSTER=CONTEXT,...",
    ),
    Option(
        "kubeconfig",
        "For attach: the kubeconfig file (default: $KUBECONFIG, then ~/.kube/config).",
        "FILE",
    ),
    Option(
        "spec",
        "The mesh as it is meant to be, as a YAML or JSON file: clusters, networks, roles "
        "(default: two clusters).",
        "FILE",
    ),
    Option(
        "report",
        "Where to write the certificate, .yaml or .json (default: mesh-report.yaml); of several "
        "topologies, the overall result, beside which each has its certificate "
        "(mesh-report-NAME.yaml).",
        "FILE",
    ),
    Option(
        "no_page",
        "Write no page (.html) beside the certificate.",
    ),
    Option(
        "baseline",
        "An earlier certificate: say what became worse since, and fail if something did.",
        "FILE",
    ),
    Option(
        "gate",
        "Certify the mesh, run this shell command while requests between all clusters are counted, "
        "certify again, fail if something was lost or became worse. Only on the command line.",
        "COMMAND",
    ),
    Option(
        "control",
        "With --mesh-gate: first run this command, which restarts the same things and changes "
        "nothing; only losses beyond those that it costs are held against the other one.",
        "COMMAND",
    ),
    Option(
        "profile",
        "What the mesh claims: 'core' (nothing outside the run's own namespaces is written), "
        "'extended' (a wider claim, just as harmless), or 'disruptive' (both, and what changes "
        "mesh-wide settings, remote secrets, gateways and API servers). Without it core, and the "
        "quick disruptive checks where the run may disrupt: in the lab, or with "
        "--mesh-disruptive.",
        "NAME",
    ),
    Option(
        "checks",
        "Run only these checks or areas: MC-TRUST-001,MC-EASTWEST; 'static' is all checks that "
        "only read: then no probes are made and nothing is written. The certificate is partial.",
        "ID,...",
    ),
    Option(
        "strict",
        "Fail on risks, too: what works, but only until the next failure, change or caller.",
    ),
    Option(
        "disruptive",
        "Allow disruptive checks on clusters that outlive the run: they change the mesh and put "
        "it back; --mesh-plan tells what each does to whom. Only on the command line.",
    ),
    Option(
        "allow",
        "With --mesh-disruptive: also allow what touches other people's traffic. "
        "'every-service': all services are kept within their clusters for some seconds; "
        "'remote-secrets': a cluster is taken out of the mesh and put back; "
        "'single-gateways': a gateway's only pod is killed. Only on the command line.",
        "NAME,...",
    ),
    Option(
        "istio",
        "For the lab: the minor version of Istio to install, 1.31 (default) or 1.30; another than "
        "the default is built when it is first asked for.",
        "VERSION",
    ),
    Option(
        "kubernetes",
        "For the lab: the minor version of Kubernetes, 1.36 (default) or 1.35; likewise.",
        "VERSION",
    ),
    Option(
        "keep",
        "Leave the lab or the probes running at the end, "
        "and say how to reach and how to remove them.",
    ),
    Option(
        "snapshot",
        "Save what the static checks read into this new folder, secrets redacted.",
        "DIR",
    ),
    Option(
        "replay",
        "Run the static checks on a folder that --mesh-snapshot wrote: no cluster, no network.",
        "DIR",
    ),
    Option("self_test", ""),
    Option(
        "list",
        "Print every known check with its sentence, profile, requirements and documentation, "
        "and stop.",
    ),
    Option(
        "plan",
        "Print what a run would do, create and remove, and which checks apply, and stop.",
    ),
    Option(
        "wait",
        "On clusters that exist: wait up to so many seconds until the static checks hold, "
        "then judge what is there; what does not hold yet is told meanwhile.",
        "SECONDS",
        "float",
    ),
    Option(
        "timeout_factor",
        "Multiply every time budget; a certificate made with another factor than 1 says so.",
        "X",
        "float",
    ),
    Option(
        "probe_image",
        "The image with a Python 3 that the probe pods run (default: the provider's own choice).",
        "IMAGE",
    ),
    Option(
        "probe_patch",
        "Labels, annotations, tolerations, limits and the like that the cluster demands of the "
        "probes' namespaces and pods, as a YAML or JSON file.",
        "FILE",
    ),
    Option(
        "namespace",
        "Namespaces that are prepared for the run, where it may make none: the first for the "
        "probes, others for checks that need one of their own.",
        "NAME[,NAME...]",
    ),
)
