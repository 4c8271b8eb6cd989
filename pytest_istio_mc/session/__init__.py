"""The pytest layer: what happens in which order when meshes are certified.

One topology, one process:

1. ``plugin.pytest_configure`` reads the options (``options``, ``validation``) and calls
   ``start.take_part``, which makes a :class:`~.run.Run`, a :class:`~.certification.Certification`
   and the hooks: :class:`~.tests.Tests` around tests, :class:`~.owner.Owner` around the session.
2. pytest collects. Suites make a test of each check (``tests.checks_of``); ``Tests`` finds the
   check of each test, leaves out what ``--mesh-checks`` does not name, and sorts: static, live,
   exclusive, faults.
3. ``Owner.pytest_runtestloop`` provisions through :class:`~.meshes.Meshes` (``provision``: clusters
   and mesh from the provider, probes, snapshot). ``State.IDLE`` becomes ``State.CERTIFYING``; where
   it fails the certificate is written at once (``State.TOLD``) and pytest ends.
4. Before the first test, ``Run.look_ahead`` begins what the live checks see, side by side
   (``observing``). Then each test asks ``Run.judge``: the snapshot for a static check, else the
   observations, made now if nobody looked ahead. ``expect`` records the verdict and raises.
5. ``Tests.pytest_runtest_makereport`` puts the verdicts onto the report as plain JSON;
   ``Owner.pytest_runtest_logreport`` gathers them from there.
6. ``Owner.pytest_sessionfinish`` takes the mesh down, writes the certificate (``results``), settles
   the exit code: ``State.CONCLUDED``.
7. ``Owner.pytest_terminal_summary`` shows root causes, pytest its failures without symptoms, then
   ``Owner`` the certificate.

Several topologies: every test is made once for each (``Tests.pytest_generate_tests``), those of one
mesh stand together, and after the last test on a mesh steps 6 and 3 follow for it and the next.

With pytest-xdist: the controller does 1, then collects itself and provisions before its workers
start (``xdist``); it tells them of the mesh by a file (``Run.publish``). Workers do 1 without an
owner, 2, wait for that file (``Run.attach``), and 4 without looking ahead. Their reports carry the
verdicts to the controller, which does 5 to 7 and goes on to the next mesh after the last report on
one. A file lock (``Tests.pytest_runtest_protocol``) keeps faults and exclusive checks alone, and
what they saw is shared between workers by a file (``Run.judge``).

Where a run is lost: Ctrl-C, SIGTERM and clusters that die end what waits for them (``cleanup``,
``Run.give_up``); clean-up errors are told beside the first error, never instead of it.
"""
