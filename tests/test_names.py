"""Names: what Kubernetes takes passes, and what it would not take does not."""

from __future__ import annotations

import json
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_istio_mc import names
from pytest_istio_mc.names import Form
from pytest_istio_mc.plain import Misfit, from_json

FORMS = {name: form for name, form in vars(names).items() if isinstance(form, Form)}

GOOD = {
    "DNS_LABEL": ["a", "istio-system", "0-a", "a" * 63],
    "DNS_SUBDOMAIN": ["a", "ip-10-0-0-1.eu-central-1.compute.internal", "sh.helm.release.v1.x.v1"],
    "PATH_SEGMENT": ["system:node", "istio-reader-clusterrole-istio-system", "A b"],
    "QUALIFIED": ["app", "topology.istio.io/network", "a_B.c", "Example.com/x"],
    "LABEL_VALUE": ["", "a", "eu-central-1a", "1.31.0_x-Y", "a" * 63],
    "DATA_KEY": ["ca-cert.pem", "cluster_1", "..data"],
    "PORT_NAME": ["", "http", "grpc-web"],
    "TRUST_DOMAIN": ["cluster.local", "prod_1.Example.com"],
    "WORD": ["", "proj-123/mesh:1"],
    "ONE_LINE": ["", "arn:aws:eks:eu:1:cluster/x", "admin@prod (old) ü", "C:\\kube"],
}
"""What real clusters have, by the name of the form."""

BAD = {
    "DNS_LABEL": ["", "A", "a.b", "-a", "a-", "a_b", "a" * 64, "a\n", "a/b", ".."],
    "DNS_SUBDOMAIN": ["", "A", "a..b", ".a", "a/b", "a b", "$(x)", "../x", "a\n"],
    "PATH_SEGMENT": ["", "a/b", "a%b", "a\nb", "\x1b"],
    "QUALIFIED": ["", "/a", "a/", "a b", "a/b/c", "-a", "a;b"],
    "LABEL_VALUE": ["-", "a b", "a/b", "a" * 64, "ü", "a\n"],
    "DATA_KEY": ["", "a b", "a/b", "$(x)"],
    "PORT_NAME": ["A", "a b"],
    "TRUST_DOMAIN": ["", "a b", "a/b", "a!"],
    "WORD": ["a b", "a\x1bb", "a\u2003b"],
    "ONE_LINE": ["a\nb", "\x1b[2J", "\x9b", "a\0", "\u2028"],
}
"""What none can have."""


def test_every_form_is_tried() -> None:
    assert FORMS.keys() == GOOD.keys() == BAD.keys()


@pytest.mark.parametrize("name", sorted(FORMS))
def test_a_form_takes_real_names_and_no_others_here_and_in_files(name: str) -> None:
    form = FORMS[name]

    for text in GOOD[name]:
        assert form.fits(text), text
        assert reads(form, text), text
    for text in BAD[name]:
        assert not form.fits(text), text
        assert not reads(form, text), text


@given(
    st.sampled_from(sorted(FORMS)),
    st.text(st.sampled_from("aA0-_./:% \n\x1b\x9b\u2028ü"), max_size=4),
)
def test_files_and_options_agree_on_any_text(name: str, text: str) -> None:
    assert FORMS[name].fits(text) == reads(FORMS[name], text)


def reads(form: Form, text: str) -> bool:
    """Whether a file may hold that text where the form is demanded."""
    try:
        from_json(Annotated[str, form], json.dumps(text).encode())
    except Misfit:
        return False
    return True
