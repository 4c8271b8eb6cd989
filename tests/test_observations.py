"""Observations: what is read out of answers and headers."""

from __future__ import annotations

import pytest

from pytest_istio_mc.observations import Answer, Ending, Protocol, Request, forwarded_certificates

CALLER = "spiffe://cluster.local/ns/a/sa/client"
SERVER = "spiffe://cluster.local/ns/a/sa/helloworld"


def test_the_last_element_is_the_word_of_the_servers_own_sidecar() -> None:
    forged = "By=spiffe://x;Hash=00;URI=spiffe://cluster.local/ns/a/sa/admin"
    own = f'By={SERVER};Hash=11;Subject="CN=a,O=\\"b\\";c";URI={CALLER}'

    elements = forwarded_certificates(f"{forged},{own}")

    assert len(elements) == 2
    assert elements[-1] == {
        "By": SERVER,
        "Hash": "11",
        "Subject": 'CN=a,O=\\"b\\";c',
        "URI": CALLER,
    }


def test_an_answer_takes_the_identities_from_the_header() -> None:
    pod = {"cluster": "east", "namespace": "a", "pod": "p", "version": "v1", "role": "server"}
    told = {**pod, "port": 5000, "protocol": "HTTP/1.1"}

    answer = Answer.from_probe({**told, "xfcc": f'By={SERVER};Hash=1;Subject="";URI={CALLER}'})

    assert (answer.caller, answer.server) == (CALLER, SERVER)
    assert Answer.from_probe(told).caller == ""


@pytest.mark.parametrize(
    ("ending", "status", "error", "failure"),
    [
        (
            Ending.ANSWERED,
            503,
            "upstream error\nreset reason: x",
            "503 upstream error reset reason: x",
        ),
        (Ending.TIMEOUT, 0, "timed out", "timeout: timed out"),
    ],
)
def test_a_failed_request_says_why(ending: Ending, status: int, error: str, failure: str) -> None:
    sent = (1.0, "east", "client", "h", 5000, Protocol.HTTP)
    request = Request(*sent, ending, status=status, error=error)

    assert not request.succeeded
    assert request.failure == failure
