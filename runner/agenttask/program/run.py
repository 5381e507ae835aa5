"""Drives one attempt of a program: restores its folder, starts it, stores the folder, and ends as the program does.

restore ──▶ runs ──exit 0──▶ store, Ended        in one record
             │ │────exit n─▶ ProgramFailed       the folder stays as it was stored last
             │ └─SIGTERM───▶ told to end ──▶ killed, at the end of its grace ──▶ store, StopRequested
             └──fenced, store trouble──▶ killed at once
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from agenttask.agent.events import Ended, Stored
from agenttask.agent.state import Program
from agenttask.agent.stop import Stop, StopRequested
from agenttask.clock import Clock
from agenttask.contract import Outcome, RunnerReason
from agenttask.errors import FolderUnusable, ProgramFailed
from agenttask.journal import Journal
from agenttask.lines import Lines
from agenttask.program.child import Child, Home
from agenttask.program.door import Checkpoint, Progress, opened
from agenttask.program.folder import Folder, clear, put_back

RESULT_BYTES: Final = 1 << 20
"""Where an answer is cut."""


class ProgramRun:
    """One attempt."""

    def __init__(
        self,
        *,
        command: Sequence[str],
        env: Mapping[str, str],
        home: Home,
        every_seconds: float,
        journal: Journal,
        stop: Stop,
        clock: Clock,
        lines: Lines,
        on_news: Callable[[Program], None],
    ) -> None:
        """`on_news` hears how far the program says it is, and what is to be said of its folder, in `text`."""
        self._command = command
        self._env = env
        self._home = home
        self._every_seconds = every_seconds
        self._journal = journal
        self._stop = stop
        self._clock = clock
        self._lines = lines
        self._on_news = on_news
        self._folder = Folder(root=home.state, attach=journal.attach)
        self._turn = asyncio.Lock()
        stored = self._stored
        self._said = Progress(step=stored.step, total=stored.total, text=stored.text)
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Fails with what puts an end to the run, where only the program's request has met it."""

    async def run(self) -> Ended:
        """Run it to its end. Raises `StopRequested`, `ProgramFailed`, and what restoring and storing raise."""
        await self._stop.bound(self._restore(), calling=False)
        try:
            async with opened(self._home.socket, handle=self._handle):
                code = await self._live()
        except StopRequested:
            await self._store_what_is_left()
            raise
        if code != 0:
            raise ProgramFailed(_words(code), code=code)
        return await self._end()

    async def _restore(self) -> None:
        try:
            for each in (self._home.state, self._home.result, self._home.socket):
                await asyncio.to_thread(clear, each)
            self._home.state.mkdir()
        except OSError as error:
            raise FolderUnusable(f"the program's folder cannot be made: {error}") from error
        items = self._stored.items
        await put_back(items, root=self._home.state, read=self._journal.read)
        if items:
            self._on_news(self._news(f"resumed: {self._said.text}" if self._said.text else "resumed"))
            self._lines.say("restored", files=len(items), bytes=sum(item.size for item in items))

    async def _live(self) -> int:
        """From the program's start to its end; the exit code. `StopRequested` once it has ended because it was told."""
        self._stop.refuse_new_work()
        child = await Child.start(command=self._command, env=self._env, home=self._home)
        exited = asyncio.ensure_future(child.wait())
        keeping, stopping = asyncio.ensure_future(self._keep()), asyncio.ensure_future(self._stop.wait())
        try:
            first: set[asyncio.Future[Any]] = {exited, keeping, stopping, self._broken}
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            for each in (keeping, self._broken):
                if each.done():
                    await each
            if exited.done():
                return exited.result()
            self._lines.say("stopping")
            child.stop()
            await self._stop.bound(child.wait(), calling=False)
            raise StopRequested
        finally:
            await child.kill()
            for task in (keeping, stopping, exited):
                task.cancel()
            await asyncio.gather(keeping, stopping, exited, return_exceptions=True)
            self._broken.cancel()

    async def _keep(self) -> None:
        """Store the folder now and then."""
        while True:
            await self._clock.sleep(self._every_seconds)
            try:
                await self._store()
            except FolderUnusable as error:
                self._complain(str(error))

    async def _handle(self, request: Checkpoint | Progress) -> bool:
        if isinstance(request, Progress):
            self._said = request
            self._on_news(self._news(request.text))
            return True
        try:
            await self._store(strictly=True)
        except (FolderUnusable, asyncio.CancelledError):
            raise
        except BaseException as error:  # whatever it is, the run ends by it, and not the talk alone
            if not self._broken.done():
                self._broken.set_exception(error)
            return False
        return True

    async def _store(self, *, strictly: bool = False) -> None:
        """Make the folder durable as it is. With `strictly`, what cannot be kept is an error, and nothing is stored.

        Who is cancelled leaves it to finish, so that the next look sees what has been stored.
        """
        await asyncio.shield(asyncio.ensure_future(self._store_in_turn(strictly=strictly)))

    async def _store_in_turn(self, *, strictly: bool) -> None:
        async with self._turn:
            if (stored := await self._look(strictly=strictly)) is not None:
                await self._journal.commit(stored)
            else:
                await self._journal.confirm()  # a program that has been replaced must not work on for want of news

    async def _look(self, *, strictly: bool = False) -> Stored | None:
        """What differs from what is stored; None if nothing does."""
        before, said = self._stored, self._said
        look = await self._folder.look(before.items, now_ns=int(self._clock.now().timestamp() * 1e9))
        if look.refused:
            words = f"not stored: {look.refusal}"
            if strictly:
                raise FolderUnusable(words)
            self._complain(words)
        unchanged = not look.changed and not look.gone
        if unchanged and (said.step, said.total, said.text) == (before.step, before.total, before.text):
            return None
        return Stored(changed=look.changed, gone=look.gone, step=said.step, total=said.total, text=said.text)

    async def _store_what_is_left(self) -> None:
        """On the way out: what cannot be stored is said, and keeps nobody."""
        try:
            await self._store()
        except FolderUnusable as error:
            self._complain(str(error))

    async def _end(self) -> Ended:
        """The final record, with the folder as the program has left it."""
        answer, cut = await asyncio.to_thread(_result, self._home)
        async with self._turn:
            stored = await self._look()
            ended = Ended(
                outcome=Outcome.COMPLETED,
                reason=RunnerReason.COMPLETED,
                message=f"the program ended with exit code 0{'; its result was cut' if cut else ''}",
                answer=answer,
            )
            await self._journal.commit(*([stored] if stored is not None else []), ended)
        return ended

    def _complain(self, words: str) -> None:
        self._lines.say("folder", message=words)
        self._on_news(self._news(words))

    def _news(self, text: str) -> Program:
        return Program(step=self._said.step, total=self._said.total, text=text)

    @property
    def _stored(self) -> Program:
        if self._journal.state.program is None:
            raise AssertionError("no program was started")
        return self._journal.state.program


def _words(code: int) -> str:
    ended = f"signal {code - 128}" if code > 128 else f"exit code {code}"
    return f"the program ended with {ended}; its last words are in the log"


def _result(home: Home) -> tuple[str, bool]:
    """The answer, and whether it was cut."""
    try:
        with home.result.open("rb") as file:
            content = file.read(RESULT_BYTES + 1)
    except OSError:
        return "", False
    return content[:RESULT_BYTES].decode(errors="replace"), len(content) > RESULT_BYTES
