"""Public archives of MIDI: fetched, checked and unpacked."""

import re
from pathlib import Path, PurePosixPath
from typing import Annotated

import tyro

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
    """Fetch a public data set, check its SHA-256 and unpack it. The same command continues an interrupted fetch.

    Args:
        name: groove, the Groove MIDI Dataset v1.0.0 (CC BY 4.0), 3 MB.
        out: folder to unpack to.
        url: another address of the archive.
        sha256: SHA-256 of another archive, 64 hexadecimal digits.
        from_file: a .zip on this machine to unpack; nothing is fetched.

    Returns:
        The unpacked folder, out/name.

    Raises:
        HypermeterError: an unknown name, no connection, another SHA-256 than expected, an archive that is damaged or
            would write outside its folder, a folder that cannot be written.
    """
    import hashlib

    from hypermeter.core.files import check_folder

    if name not in ARCHIVES and not (sha256 and (url or from_file)):
        raise HypermeterError(f"download {name}: unknown; expected {', '.join(ARCHIVES)}, or give url and sha256")
    if PurePosixPath(name).name != name or name in ("", ".", ".."):
        raise HypermeterError(f"download: name is {name!r}, expected a plain folder name")
    public_url, public_sha256 = ARCHIVES.get(name, ("", ""))
    url, sha256 = url or public_url, (sha256 or public_sha256).lower()
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise HypermeterError(f"download: sha256 is {sha256!r}, expected 64 hexadecimal digits")
    if from_file and not Path(from_file).is_file():
        raise HypermeterError(f"{from_file}: no such file; expected the archive as a .zip")
    check_folder(out)
    folder, mark = Path(out) / name, Path(out) / name / ".sha256"
    if mark.exists() and mark.read_text("utf-8") == sha256:
        return folder
    if folder.exists():
        raise HypermeterError(f"{folder}: already there, from another source; move it away or choose another folder")
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
        archive = Path(from_file) if from_file else _fetch(url, Path(out) / f".{name}.zip.part")
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        if digest != sha256:
            if not from_file:
                archive.unlink()
            raise HypermeterError(f"{from_file or url}: sha256 {digest}, expected {sha256}; fetch it again")
        _unpack(archive, folder, mark.name, sha256)
        if not from_file:
            archive.unlink()
    except OSError as error:
        where = error.filename or out
        raise HypermeterError(f"{where}: {error.strerror or error}; check the path, space and rights") from error
    return folder


def _fetch(url: str, part: Path) -> Path:
    """Fetch the file at an address into ``part``; what an earlier try left there is not fetched again."""
    import http.client
    import urllib.error
    import urllib.request

    from rich.console import Console
    from rich.progress import Progress

    size = part.stat().st_size if part.exists() else 0
    try:
        request = urllib.request.Request(url, headers={"Range": f"bytes={size}-"} if size else {})
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
            # Reading in blocks does not raise when the connection ends early.
            if total and received < total:
                raise HypermeterError(f"{url}: cut off after {received} of {total} bytes; run again to continue")
    except urllib.error.HTTPError as error:
        if not (error.code == 416 and size):  # Nothing is left to fetch.
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
    """Unpack into a folder that takes its name once it is whole. A single top folder of the same name is left out."""
    import os
    import shutil
    import zipfile

    temporary = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                name, is_link = info.filename, info.external_attr >> 28 == 0xA
                parts = PurePosixPath(name.replace("\\", "/")).parts
                if is_link or ".." in parts or name.startswith(("/", "\\")) or ":" in name:
                    raise HypermeterError(f"{archive}: would write {name!r} outside its folder; not unpacked")
            zipped.extractall(temporary)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise HypermeterError(f"{archive}: damaged archive ({error}); fetch it again") from error
    inner = temporary / folder.name
    root = inner if inner.is_dir() and len(list(temporary.iterdir())) == 1 else temporary
    (root / mark).write_text(sha256, "utf-8")
    os.replace(root, folder)
    shutil.rmtree(temporary, ignore_errors=True)
