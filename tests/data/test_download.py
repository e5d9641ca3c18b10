"""The real download code against a small server on the loopback address."""

import hashlib
import http.server
import io
import socket
import tarfile
import threading
from dataclasses import replace

import pytest

from tests.support.cifar_files import write_cifar10
from wrn3d import load_dataset
from wrn3d.data import cifar, download


class Server(http.server.ThreadingHTTPServer):
    """Serve `content` under any path with `status`, cut short after `sent` bytes."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.status, self.sent, self.requests = b"", 200, None, 0


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests += 1
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content[: self.server.sent])

    def log_message(self, *arguments):
        pass


def tar_of(folder, name="cifar-10-batches-py"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder, name)
    return buffer.getvalue()


def tar_with(*members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def link(name, target):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


@pytest.fixture
def archive(tmp_path):
    """Return a small archive in CIFAR-10's format, as bytes."""
    return tar_of(write_cifar10(tmp_path / "made", "py"))


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=[0.01])  # seconds to shut down
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def offer(server, monkeypatch):
    """Return a function that makes `content` the official CIFAR-10 archive; `md5` can be wrong."""

    def offer(content, md5=None, url=None):
        server.content = content
        python, binary = cifar.CIFAR10.layouts
        url = url or f"http://127.0.0.1:{server.server_port}/cifar-10-python.tar.gz"
        official = replace(python.archive, url=url, md5=md5 or hashlib.md5(content).hexdigest())
        monkeypatch.setattr(
            cifar,
            "CIFAR10",
            replace(cifar.CIFAR10, layouts=(replace(python, archive=official), binary)),
        )

    return offer


@pytest.fixture
def data_dir(tmp_path):
    """Return a folder that does not exist yet. A failure must not leave it behind."""
    return tmp_path / "new" / "data"


def test_it_is_downloaded_checked_and_unpacked_once(server, offer, archive, data_dir, capsys):
    offer(archive)
    assert len(load_dataset("cifar10", data_dir).train_labels) == 100
    assert len(load_dataset("cifar10", data_dir).train_labels) == 100
    assert server.requests == 1
    output = capsys.readouterr().out
    assert output.startswith("Downloading data from http://127.0.0.1")
    assert output.count("\n") == 1  # no progress bar in a log
    assert [path.name for path in data_dir.iterdir()] == ["cifar-10-batches-py"]


def test_an_archive_in_the_folder_is_unpacked_without_the_network(server, offer, archive, data_dir):
    offer(archive)
    data_dir.mkdir(parents=True)
    path = data_dir / "cifar-10-python.tar.gz"
    path.write_bytes(archive[:-1])
    with pytest.raises(ValueError, match=r"is not the official archive \(its MD5 is .* delete it"):
        load_dataset("cifar10", data_dir)
    assert list(data_dir.iterdir()) == [path]
    path.write_bytes(archive)
    assert len(load_dataset("cifar10", data_dir).test_labels) == 20
    assert server.requests == 0


def assert_not_downloaded(data_dir, reason):
    with pytest.raises(FileNotFoundError, match=reason) as caught:
        load_dataset("cifar10", data_dir)
    message = str(caught.value)
    assert message.startswith(f"CIFAR-10 is not in {data_dir} and could not be downloaded (")
    assert "put cifar-10-python.tar.gz from http" in message and "--dataset digits" in message
    assert "\n" not in message
    assert not data_dir.parent.exists()


@pytest.mark.parametrize(
    "options, server_settings, reason",
    [
        ({"md5": "0" * 32}, {}, "it is corrupted: its MD5 is .*, not 00"),
        ({}, {"sent": 1000}, "it ended after 1,000 of .* bytes"),
        ({}, {"status": 404}, "404"),
        ({"url": "http://127.0.0.1:9/cifar-10-python.tar.gz"}, {}, "refused"),
    ],
)
def test_a_failed_download_leaves_nothing(
    server, offer, archive, data_dir, options, server_settings, reason
):
    offer(archive, **options)
    vars(server).update(server_settings)
    assert_not_downloaded(data_dir, reason)


def test_a_silent_server_is_given_up(offer, archive, data_dir, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        offer(archive, url=f"http://127.0.0.1:{silent.getsockname()[1]}/cifar-10-python.tar.gz")
        assert_not_downloaded(data_dir, "timed out")


@pytest.mark.parametrize(
    "content",
    [
        tar_with((tarfile.TarInfo("../outside"), b"x")),
        tar_with((tarfile.TarInfo("cifar-10-batches-py/../../outside"), b"x")),
        tar_with((link("cifar-10-batches-py", "../.."), b"")),
        tar_with((link("cifar-10-batches-py", "/etc"), b"")),
        tar_with((tarfile.TarInfo("something-else"), b"x")),
        b"no tar file at all",
        b"",
        None,  # half of a good one
    ],
)
def test_an_archive_that_climbs_out_or_is_damaged_is_refused_whole(
    offer, archive, data_dir, content
):
    offer(archive[: len(archive) // 2] if content is None else content)
    with pytest.raises(ValueError, match="does not unpack to cifar-10-batches-py") as caught:
        load_dataset("cifar10", data_dir)
    assert "\n" not in str(caught.value)
    assert not data_dir.parent.exists()


def test_an_archive_that_grows_too_large_is_refused(offer, archive, data_dir, monkeypatch):
    monkeypatch.setattr(download, "LARGEST_CONTENT", 1 << 20)
    offer(tar_with((tarfile.TarInfo("cifar-10-batches-py/x"), bytes(2 << 20))))
    with pytest.raises(ValueError, match="more than 1,048,576 bytes"):
        load_dataset("cifar10", data_dir)
    assert not data_dir.exists()


def test_an_archive_that_is_a_folder_is_named(offer, archive, data_dir):
    offer(archive)
    (data_dir / "cifar-10-python.tar.gz").mkdir(parents=True)
    with pytest.raises(ValueError, match="python.tar.gz cannot be read .is a directory"):
        load_dataset("cifar10", data_dir)


def test_an_impossible_folder_name_is_refused():
    with pytest.raises(ValueError, match="cannot be read .file name too long.*--data-dir"):
        load_dataset("cifar10", "x" * 300)


def test_another_process_may_unpack_first(offer, archive, data_dir, monkeypatch):
    offer(archive)
    data_filter = download._bounded_data_filter

    def slow():
        (data_dir / "cifar-10-batches-py").mkdir(exist_ok=True)
        (data_dir / "cifar-10-batches-py" / "theirs").touch()
        return data_filter()

    monkeypatch.setattr(download, "_bounded_data_filter", slow)
    download.find_or_fetch("CIFAR-10", [cifar.CIFAR10.layouts[0].archive], data_dir)
    names = sorted(path.name for path in data_dir.rglob("*"))
    assert names == ["cifar-10-batches-py", "theirs"]


def test_a_folder_that_cannot_be_written_is_named(offer, archive):
    offer(archive)
    with pytest.raises(ValueError, match="^/proc/data cannot be written to .*--data-dir"):
        load_dataset("cifar10", "/proc/data")
