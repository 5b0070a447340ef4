"""Public archives of MIDI: fetched, checked and unpacked."""

import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
import zipfile
from pathlib import Path, PurePosixPath
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import Progress

from hypermeter.core.errors import HypermeterError

ARCHIVES = {
    "groove": (
        "https://storage.googleapis.com/magentadata/datasets/groove/groove-v1.0.0-midionly.zip",
        "651cbc524ffb891be1a3e46d89dc82a1cecb09a57c748c7b45b844c4841dcc1e",
    )
}
"""Name -> address and SHA-256 of a public archive. Groove MIDI Dataset v1.0.0: Gillick et al., ICML 2019, CC BY 4.0."""


def download(
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = "groove",
    out: Path = Path("data"),
    url: str | None = None,
    sha256: str | None = None,
    from_file: Annotated[Path | None, tyro.conf.arg(name="from", metavar="FILE")] = None,
) -> Path:
    """Fetch a public data set, check its SHA-256 and unpack it. A fetch that was cut off goes on where it stopped.

    Args:
        name: groove, the Groove MIDI Dataset v1.0.0 (CC BY 4.0), 3 MB.
        out: folder to unpack to.
        url: another address of the archive.
        sha256: its SHA-256, where it is another archive.
        from_file: the archive, already here as a .zip: nothing is fetched.

    Returns:
        The folder unpacked, out/name.

    Raises:
        HypermeterError: unknown name, no connection, another SHA-256 than expected, an archive that is damaged or
            would write outside its folder, a folder that cannot be written.
    """
    if name not in ARCHIVES and not (sha256 and (url or from_file)):
        raise HypermeterError(f"download {name}: unknown; expected {', '.join(ARCHIVES)}, or give url and sha256")
    known_url, known_sha256 = ARCHIVES.get(name, ("", ""))
    sha256 = (sha256 or known_sha256).lower()
    if PurePosixPath(name).name != name or name in ("", ".", ".."):
        raise HypermeterError(f"download: name is {name!r}, expected a plain folder name")
    folder, mark = Path(out) / name, Path(out) / name / ".sha256"
    if mark.exists() and mark.read_text("utf-8") == sha256:
        return folder
    if folder.exists():
        raise HypermeterError(f"{folder}: already there, from another source; move it away or choose another folder")
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
        archive = Path(from_file) if from_file else _fetch(url or known_url, Path(out) / f".{name}.zip.part")
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != sha256:
            if not from_file:
                archive.unlink()
            raise HypermeterError(f"{from_file or url or known_url}: sha256 {found}, expected {sha256}; fetch it again")
        _unpack(archive, folder, mark.name, sha256)
        if not from_file:
            archive.unlink()
    except OSError as error:
        where = error.filename or out
        raise HypermeterError(f"{where}: {error.strerror or error}; check the path, space and rights") from error
    return folder


def _fetch(url: str, part: Path) -> Path:
    """The file at an address. What an earlier try left in ``part`` is not fetched again."""
    have = part.stat().st_size if part.exists() else 0
    try:
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        with urllib.request.urlopen(request, timeout=60) as response:
            is_rest = response.status == 206
            total = int(response.headers.get("Content-Length") or 0) or None
            with (
                part.open("ab" if is_rest else "wb") as file,
                Progress(console=Console(stderr=True), transient=True) as progress,
            ):
                task, received = progress.add_task(f"fetching {url.rpartition('/')[2]}", total=total), 0
                while block := response.read(1 << 16):
                    received += file.write(block)
                    progress.update(task, completed=received)
            # Reading in blocks does not tell that the connection ended early.
            if total and received < total:
                raise HypermeterError(f"{url}: cut off after {received} of {total} bytes; run again to go on")
    except urllib.error.HTTPError as error:
        if not (error.code == 416 and have):  # Nothing is left to fetch.
            raise HypermeterError(
                f"{url}: the server answered {error.code} {error.reason}; check the address"
            ) from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ValueError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(getattr(error, 'reason', error)).split())}"
        raise HypermeterError(
            f"{url}: cannot be fetched ({reason}); check the address, try again, or fetch it otherwise and pass --from"
        ) from error
    return part


def _unpack(archive: Path, folder: Path, mark: str, sha256: str) -> None:
    """Unpacks into a folder that takes its name once it is whole. A single top folder of the same name is left out."""
    temporary = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as zipped:
            for each in zipped.infolist():
                parts = PurePosixPath(each.filename.replace("\\", "/")).parts
                is_link = each.external_attr >> 28 == 0xA
                if is_link or ".." in parts or each.filename.startswith(("/", "\\")) or ":" in each.filename:
                    raise HypermeterError(f"{archive}: would write {each.filename!r} outside its folder; not unpacked")
            zipped.extractall(temporary)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise HypermeterError(f"{archive}: damaged archive ({error}); fetch it again") from error
    inner = temporary / folder.name
    root = inner if inner.is_dir() and len(list(temporary.iterdir())) == 1 else temporary
    (root / mark).write_text(sha256, "utf-8")
    os.replace(root, folder)
    shutil.rmtree(temporary, ignore_errors=True)
