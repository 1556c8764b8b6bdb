"""The application: what each address answers."""

import contextlib
import tempfile
import threading
from collections.abc import AsyncIterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel

from kdjax.checks import plain
from kdjax.serve import records
from kdjax.serve.detector import Detector, Judged
from kdjax.serve.options import Options
from kdjax.serve.page import Page
from kdjax.serve.web.guard import HERE, Guard
from kdjax.serve.web.jobs import FullError, Job, Jobs
from kdjax.serve.web.limits import Limits
from kdjax.serve.web.looker import Looker
from kdjax.serve.web.manual import manual
from kdjax.serve.web.uploads import receive
from kdjax.version import __version__

PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox"
)
"""Of a result's page, which holds all it needs and runs nothing."""

FILES = {"app.js": "text/javascript", "app.css": "text/css"}

LONGEST_NAME = 200


class State(BaseModel):
    """A job.

    Attributes:
      id: names it; whoever has it may ask for it.
      name: what its sender calls the file.
      state: `waiting`, `working`, `done` or `failed`.
      before: how many are before it.
      frames: looked through so far.
      result: records of the input and of its faces, as `kdjax predict --format=jsonl` writes them, once it is done.
      problem: why it failed.
    """

    id: str
    name: str
    state: str
    before: int
    frames: int
    result: list[dict[str, Any]] | None
    problem: str


class About(BaseModel):
    """The detector and what is allowed.

    Attributes:
      detector: the record that `kdjax predict --format=jsonl` begins with.
      notes: what is worth knowing before a verdict is believed.
      limits: of files; see `kdjax serve --help`.
      choices: what is done unless a sender says otherwise.
      version: of kdjax.
    """

    detector: dict[str, Any]
    notes: list[str]
    limits: dict[str, float]
    choices: dict[str, bool]
    version: str


def make_app(
    detector: Detector,
    source: Path,
    *,
    options: Options | None = None,
    limits: Limits | None = None,
    hosts: Sequence[str] = HERE,
) -> FastAPI:
    """Returns the application; its worker starts and ends with it.

    Args:
      detector: judges.
      source: the folder that it was loaded from, to be shown.
      options: how faces are found and judged.
      limits: what is allowed.
      hosts: names that this machine is asked by, without ports.

    Raises:
      UserError: of options, as `Detector.watch`.
    """
    options, limits = options or Options(), limits or Limits()
    # where it lies on this machine is nobody's business
    source = Path(source.resolve().name)
    notes = detector.notes(options)
    judge = Judge(detector, source, notes, limits)
    kept = contextlib.ExitStack()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with kept:
            folder = kept.enter_context(tempfile.TemporaryDirectory(prefix="kdjax-serve-"))
            kept.callback(judge.close)
            judge.start()
            app.state.folder = Path(folder)
            app.state.jobs = Jobs(judge, limits)
            kept.callback(app.state.jobs.close)
            yield

    app = FastAPI(
        title="kdjax serve",
        version=__version__,
        description="Judges images and videos by one detector of deepfakes.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(Guard, hosts=hosts)
    _add_pages(app)
    about = About(
        detector=records.detector_record(detector, source, notes),
        notes=list(notes),
        limits=limits._asdict(),
        choices={"any_quality": options.any_quality, "cropped": options.cropped},
        version=__version__,
    )
    _add_api(app, about, options, limits)
    return app


def _add_pages(app: FastAPI) -> None:
    folder = resources.files("kdjax.serve.web") / "files"

    @app.get("/", include_in_schema=False)
    def index() -> HTMLResponse:
        return HTMLResponse((folder / "index.html").read_text("utf-8"))

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(manual(app.openapi()))

    @app.get("/files/{name}", include_in_schema=False)
    def file(name: str) -> Response:
        if name not in FILES:
            raise HTTPException(404, "no such file")
        return Response((folder / name).read_bytes(), media_type=FILES[name])


def _add_api(app: FastAPI, about: About, options: Options, limits: Limits) -> None:
    @app.get("/api/detector")
    def detector() -> About:
        """Tells what judges, and what is allowed."""
        return about

    @app.post(
        "/api/jobs",
        status_code=202,
        responses={
            400: {"description": "an empty file, or half of one"},
            403: {"description": "another host or origin"},
            408: {"description": "too slow"},
            413: {"description": "too large"},
            415: {"description": "not sent as a file"},
            503: {"description": "too many files wait: again after `Retry-After` seconds"},
        },
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
                },
            }
        },
    )
    async def send(
        request: Request,
        name: str = Query("", max_length=4000, description="what the file is called, to be shown"),
        any_quality: bool = Query(options.any_quality, description="judge any compression"),
        cropped: bool = Query(options.cropped, description="an image is a face already"),
    ) -> JSONResponse:
        """Takes a file, the body itself, and has it judged; its job is asked for until it is done."""
        how = options._replace(any_quality=any_quality, cropped=cropped)
        try:
            with app.state.jobs.place() as take:
                path = await receive(request, app.state.folder, limits)
                job = Job(path, plain(name)[:LONGEST_NAME] or "file", how)
                take(job)
        except FullError:
            raise HTTPException(
                503, f"{limits.waiting} files are being worked on or wait", {"Retry-After": "2"}
            ) from None
        return JSONResponse(
            _state(app.state.jobs, job).model_dump(), 202, {"Location": f"/api/jobs/{job.id}"}
        )

    def known(job_id: str) -> Job:
        job: Job | None = app.state.jobs.find(job_id)
        if job is None:
            raise HTTPException(404, "no such job, or no longer")
        return job

    @app.get("/api/jobs/{job_id}", responses={404: {"description": "no such job, or no longer"}})
    def state(job_id: str) -> State:
        """Tells how far a job is, and what came out."""
        return _state(app.state.jobs, known(job_id))

    @app.get(
        "/api/jobs/{job_id}/page",
        response_class=HTMLResponse,
        responses={404: {"description": "no such job, or not done"}},
    )
    def page(job_id: str) -> HTMLResponse:
        """Shows what came out: verdict, scores over time, faces."""
        job = known(job_id)
        if not job.page:
            raise HTTPException(404, "not done")
        return HTMLResponse(job.page, headers={"Content-Security-Policy": PAGE_POLICY})

    @app.delete(
        "/api/jobs/{job_id}",
        status_code=204,
        responses={404: {"description": "no such job, or no longer"}},
    )
    def drop(job_id: str) -> None:
        """Forgets a job, and stops it."""
        app.state.jobs.drop(known(job_id))


def _state(jobs: Jobs, job: Job) -> State:
    return State(
        id=job.id,
        name=job.name,
        state=job.state,
        before=jobs.position(job),
        frames=job.frames,
        result=job.result,
        problem=job.problem,
    )


class Judge:
    """Judges the files of jobs by one detector; called by one thread."""

    def __init__(
        self, detector: Detector, source: Path, notes: Sequence[str], limits: Limits
    ) -> None:
        """Takes the detector, where it was loaded from, what is worth knowing, and what is allowed."""
        self._detector, self._source, self._notes = detector, source, notes
        self._looker = Looker(detector.spec, limits)
        self._lock = threading.Lock()

    def __call__(self, job: Job) -> None:
        """Judges a job's file."""
        with self._lock:
            seen = self._looker.look(job.path, job.options, lambda: job.wanted)
            for found in self._detector.judge(Path(job.name), seen, job.options):
                if isinstance(found, Judged):
                    job.frames = found.sight.number + 1
                    continue
                page = Page(self._detector, self._source, self._notes)
                page.add(found)
                job.page = page.text()
                job.result = [records.input_record(found), *records.face_records(found)]

    def start(self) -> None:
        """Starts the process that decodes, before there is a file."""
        self._looker.start()

    def close(self) -> None:
        """Ends the process that decodes."""
        self._looker.close()
