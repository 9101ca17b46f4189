"""`matrixflag compare` on real sidecars, and on servers that answer badly."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from proxy.cli import main
from tests.support.processes import running_sidecar


def project(weight: int) -> dict[str, Any]:
    """Return definitions with a split; `on` has this share."""
    arms = [{"variant": "on", "weight": weight}, {"variant": "off", "weight": 100_000 - weight}]
    split = {"enabled": True, "salt": "s", "fallthrough": {"rollout": {"arms": arms}}}
    return {
        "flags": [
            {"key": "hello", "type": "string", "value": "world", "enabled": True},
            {"key": "a/b ä", "type": "number", "value": 10, "enabled": True},
            {
                "key": "split",
                "type": "boolean",
                "variants": {"on": True, "off": False},
                "environments": {"production": split},
            },
        ]
    }


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Two sidecars: a quarter is on in the first, half in the second."""
    first, second = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    for directory, weight in ((first, 25_000), (second, 50_000)):
        (directory / "flags.json").write_text(json.dumps(project(weight)))
    with (
        running_sidecar(first, "--snapshot", first / "flags.json") as a,
        running_sidecar(second, "--snapshot", second / "flags.json") as b,
    ):
        yield a.ofrep, b.ofrep


@pytest.fixture
def contexts(tmp_path: Path) -> Path:
    """Two hundred units, and one context without."""
    path = tmp_path / "contexts.ndjson"
    lines = [json.dumps({"targetingKey": f"u-{n}"}) for n in range(200)]
    path.write_text("\n".join([*lines, "{}", ""]))
    return path


def compare(first: str, second: str, contexts: Path | str, *arguments: str) -> int:
    """Run the command and return its status."""
    command = ["compare", "--ofrep", first, "--ofrep", second, "--contexts", str(contexts)]
    return main([*command, *arguments])


def test_a_server_is_like_itself(
    servers: tuple[str, str], contexts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 0, and what was compared is counted, errors too."""
    assert compare(servers[0], servers[0] + "/ofrep/v1/", contexts) == 0
    assert capsys.readouterr() == (
        "201 contexts, 3 flags, 603 evaluations, 1 same errors, 0 differences;"
        " compared: value, variant, error\n",
        "",
    )


def test_differences_are_printed_in_the_order_of_the_contexts(
    servers: tuple[str, str], contexts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As JSON, with all that is needed to ask again; a summary is last; status 1."""
    assert compare(*servers, contexts, "--format", "json", "--limit", "1000") == 1
    *found, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert len(found) == last["summary"]["differences"] == last["summary"]["by_flag"]["split"]
    assert 30 < len(found) < 70
    numbers = [item["context_number"] for item in found]
    assert numbers == sorted(set(numbers))
    number = numbers[0]
    assert found[0] == {
        "flag": "split",
        "context_number": number,
        "context": {"targetingKey": f"u-{number - 1}"},
        "value": [False, True],
        "variant": ["off", "on"],
    }


def test_text_is_bounded_and_all_is_counted(
    servers: tuple[str, str], contexts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A thousand lines help nobody."""
    assert compare(*servers, contexts, "--limit", "1") == 1
    out = capsys.readouterr().out
    assert out.count("  value    false  |  true\n") == 1
    assert "more differences\n\ndifferences by flag\n" in out


def test_one_flag_does_not_hide_the_others(
    servers: tuple[str, str],
    contexts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """At most a tenth of what is printed is of it, but one."""
    less = project(25_000)
    less["flags"].pop(0)  # asked for before `split`, and different in every context
    (tmp_path / "flags.json").write_text(json.dumps(less))
    with running_sidecar(tmp_path, "--snapshot", tmp_path / "flags.json") as other:
        both = other.ofrep, servers[1]
        for arguments, shares in (
            (("--limit", "20"), {"hello": 2, "split": 2}),
            (("--limit", "30", "--flags", "hello,split"), {"hello": 3, "split": 3}),
            (("--limit", "1", "--flags", "hello"), {"hello": 1}),
            (("--limit", "0"), {}),
        ):
            assert compare(*both, contexts, *arguments, "--format", "json") == 1
            *found, last = map(json.loads, capsys.readouterr().out.splitlines())
            assert Counter(each["flag"] for each in found) == shares
            assert last["summary"]["by_flag"]["hello"] == 201


def test_bulk_and_one_by_one_find_the_same(
    servers: tuple[str, str], contexts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keys of any characters."""
    assert compare(*servers, contexts, "--bulk", "--format", "json") == 1
    bulk = capsys.readouterr().out
    keys = ("--flags", "hello,a/b ä", "--flags", "split")
    assert compare(*servers, contexts, *keys, "--format", "json") == 1
    assert capsys.readouterr().out == bulk


def test_a_flag_that_neither_has_is_no_success(
    servers: tuple[str, str], contexts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two servers that answer nothing are alike, and say nothing of the flag that was meant."""
    assert compare(servers[0], servers[0], contexts, "--flags", "hello,helo") == 2
    assert "neither server has helo" in capsys.readouterr().err


def test_contexts_may_be_an_array(servers: tuple[str, str], tmp_path: Path) -> None:
    """As programs write them."""
    path = tmp_path / "contexts.json"
    path.write_text(json.dumps([{"targetingKey": "u-1"}, {}], indent=2))
    assert compare(servers[0], servers[0], path) == 0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "there is no context"),
        ("[1]", "item 1 of the array is no object"),
        ("[{", "not JSON"),
        ('{"a": 1}\n\n{"a"', "line 3"),
        ("3", "line 1"),
    ],
)
def test_contexts_that_cannot_be_read_are_status_2(
    text: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is asked, with the place."""
    path = tmp_path / "contexts"
    path.write_text(text)
    assert compare("http://localhost:1", "http://localhost:1", path) == 2
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--ofrep", "http://localhost:3"),
        ("--concurrency", "0"),
        ("--timeout", "0"),
        ("--flags", ","),
        ("--header", "sesame"),
        ("--header", "@/no/such/file"),
    ],
)
def test_what_cannot_be_done_is_status_2(
    arguments: tuple[str, ...], contexts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a header that is not understood is not repeated."""
    assert compare("http://localhost:1", "http://localhost:1", contexts, *arguments) == 2
    assert "sesame" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "url", ["localhost:8016", "ftp://localhost", "http://", "http://u:p@localhost", "http://a/?k=1"]
)
def test_a_url_is_one_of_http_without_secrets(
    url: str, contexts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is printed with what goes wrong."""
    assert compare("http://localhost:1", url, contexts) == 2
    assert "--ofrep: " in capsys.readouterr().err


# Servers that answer badly


Seen = list[tuple[str, str | None]]


@contextmanager
def server(status: int, body: bytes, headers: dict[str, str] | None = None) -> Iterator[Any]:
    """Run a server that answers one thing; yields its URL and what it was asked with."""
    seen: Seen = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and body in one piece, or the other side waits for more

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.path, self.headers.get("Authorization")))
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 64  # more than ask at once, or some wait a second
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{made.server_port}", seen
        finally:
            made.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, b"{}", "--header"),
        (404, b"not here", "--flags"),
        (429, b"{}", "--concurrency 1"),
        (500, b'{"errorCode": "GENERAL"}', "status 500"),
        (200, b"<html>", "<html>"),
        (200, b"[]", "status 200"),
        (200, b'{"flags": [{"value": 1}]}', "status 200"),
    ],
)
def test_what_is_no_answer_ends_the_comparison(
    status: int, body: bytes, said: str, contexts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else two servers that are down would be alike."""
    with server(status, body) as (url, _):
        assert compare(url, url, contexts) == 2
    assert said in capsys.readouterr().err


def test_an_error_of_a_flag_is_an_answer(contexts: Path) -> None:
    """Also with status 400, 404 and 500, when flags are asked one by one."""
    with server(500, b'{"key": "a", "errorCode": "GENERAL"}') as (url, _):
        assert compare(url, url, contexts, "--flags", "a") == 0


def test_keys_go_only_to_whom_they_are_for(contexts: Path) -> None:
    """Neither to the other server nor to where a server points to."""
    answer = b'{"flags": [{"key": "a", "value": 1}]}'
    with server(200, answer) as (one, first), server(200, answer) as (other, second):
        arguments = ("--first-header", "Authorization: Bearer 1", "--concurrency", "2")
        assert compare(one, other, contexts, *arguments) == 0
        assert set(first) == {("/ofrep/v1/evaluate/flags", "Bearer 1")}
        assert set(second) == {("/ofrep/v1/evaluate/flags", None)}
        second.clear()
        with server(307, b"{}", {"Location": other + "/ofrep/v1/evaluate/flags"}) as (moved, _):
            assert compare(moved, one, contexts, *arguments) == 2
        assert second == []


def test_headers_come_from_a_file(contexts: Path, tmp_path: Path) -> None:
    """So that no key is in the list of processes."""
    path = tmp_path / "headers"
    path.write_text("Authorization: Bearer 1\n\nX-Other: 2\n")
    with server(200, b'{"flags": [{"key": "a", "value": 1}]}') as (url, seen):
        assert compare(url, url, contexts, "--header", f"@{path}") == 0
        assert {key for _, key in seen} == {"Bearer 1"}


def process(first: str, second: str, *arguments: str, stdout: Any) -> subprocess.Popen[str]:
    """Start the command as a process of its own."""
    command = [sys.executable, "-m", "proxy", "compare", "--ofrep", first, "--ofrep", second]
    return subprocess.Popen(
        [*command, *arguments], stdout=stdout, stderr=subprocess.PIPE, text=True
    )


def test_a_reader_that_goes_ends_it_quietly(servers: tuple[str, str], contexts: Path) -> None:
    """As `| head -1` does."""
    ours, theirs = os.pipe()
    os.close(ours)
    with process(*servers, "--contexts", str(contexts), stdout=theirs) as running:
        os.close(theirs)
        _, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (141, "")


def test_an_interrupt_tells_what_was_compared(servers: tuple[str, str], tmp_path: Path) -> None:
    """The counts so far, and no traceback."""
    asked = threading.Event()
    waiting = threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if json.loads(self.rfile.read(int(self.headers["Content-Length"])))["context"] == {}:
                asked.set()
                waiting.wait(60)
            body = b'{"flags": []}'
            with suppress(OSError):  # the command has gone
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    contexts = tmp_path / "contexts.ndjson"
    contexts.write_text('{"targetingKey": "u"}\n{}\n')
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        slow = f"http://127.0.0.1:{server.server_port}"
        arguments = ("--contexts", str(contexts), "--concurrency", "1")
        with process(slow, slow, *arguments, stdout=subprocess.PIPE) as running:
            assert asked.wait(60)
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=60)
    finally:
        waiting.set()
        server.shutdown()
        server.server_close()
    assert running.returncode == 130
    assert out.startswith("interrupted; so far 1 contexts, ")
    assert err == "\nmatrixflag compare: interrupted\n"
