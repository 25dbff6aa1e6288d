"""Push a built kernel to the platform: its datasets, its run, its output; each created once, even if interrupted."""

from __future__ import annotations

from dataclasses import replace

from workbench.core.cache import lock, read_json
from workbench.core.context import SILENT, RunContext
from workbench.core.errors import ConfigError, DamagedError
from workbench.data.competition import Competition
from workbench.kernels.build import BuiltKernel
from workbench.kernels.evaluation_server import check_no_server
from workbench.kernels.layers import LAYER_NAMES, PackedFile, layers, packed_files
from workbench.kernels.push_datasets import DatasetPush
from workbench.kernels.push_kernel import KernelPush, Machine
from workbench.kernels.push_session import PushSession
from workbench.kernels.pushed_kernel import PushedKernel, pushed_kernel
from workbench.models.serving import MANIFEST
from workbench.platforms.protocol import Platform

__all__ = ["push"]


def push(
    competition: Competition,
    built: BuiltKernel,
    platform: Platform,
    machine: Machine | None = None,
    *,
    pause_s: float = 10.0,
    context: RunContext = SILENT,
) -> PushedKernel:
    """Upload what changed, run the kernel, wait for its end, and fetch its output.

    The state on the platform is recorded in ``pushed.json`` next to the bundle, before and after each step that must
    not be repeated. An interrupted push resumes.

    Parameters
    ----------
    pause_s : float
        Between two requests to the platform.

    Raises
    ------
    ConfigError
        When the competition has an evaluation server, or the platform has no kernels.
    PlatformError
        When it rejects something, or the kernel does not end in time.
    UnansweredError
        When it is not known whether something was created; the next push checks before it sends.
    DamagedError
        When the fetched output is not what the kernel wrote.
    """
    check_no_server(competition)
    if platform.code is None:
        raise ConfigError(f"the platform {platform.name!r} has no kernels", hint="`wb kernel rehearse` runs it here")
    with lock(built.folder / ".push.lock", f"pushing the kernel {built.name!r}"):
        session = PushSession.open(platform.code, built.folder, pause_s, context)
        # Read once, as another build may overwrite files while this one uploads.
        files = packed_files(built.bundle)
        run_id = _checked_run_id(built, files)
        datasets = DatasetPush(session, built.name)
        files_by_layer = layers(files, datasets.base_files(f"{built.name}-base"))
        for layer, layer_files in files_by_layer.items():
            datasets.put(f"{built.name}-{layer}", layer_files)
        kernel = KernelPush(session, built, machine or Machine(), slug=competition.slug, run_id=run_id)
        kernel.save([f"{built.name}-{layer}" for layer in LAYER_NAMES if layer in files_by_layer or layer == "base"])
        record = kernel.wait_and_fetch()
        return replace(
            pushed_kernel(built.folder, record),
            uploaded=tuple(f.name for f in session.uploaded),
            size=sum(f.size for f in session.uploaded),
            notes=tuple(session.notes),
        )


def _checked_run_id(built: BuiltKernel, files: list[PackedFile]) -> str:
    """Return the id of the run whose models a bundle contains, after comparing its files with the manifest."""
    manifest = read_json(built.bundle / MANIFEST)
    digest_by_name = {f.name: f.sha256 for f in files if f.name != MANIFEST}
    if digest_by_name != manifest["files"]:
        raise DamagedError(
            f"the files in {built.bundle} do not match its manifest: another build may be writing there",
            hint="`wb kernel push` builds it again",
        )
    return str(manifest["run_id"])
