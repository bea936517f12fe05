"""Starts one worker of the local adapter, stays beside it, and writes down how it ends.

Run as a script, detached, with nothing but the standard library, so that it is small and outlives
the TMS that started it. It holds the lock of its proc from before it exists (the TMS takes it and
hands it down) until its last event is written: whoever gets that lock knows that no worker runs.
It writes `execute` to the job event log itself, then runs the pilot as its child, which the kernel
kills if the starter dies. It keeps the worker within its memory and its time, and passes what the
pilot says on its chirp socket to the log. Must never run a pilot that it has not logged, nor leave
one process of it behind.

Staying the pilot's parent, instead of becoming the pilot, keeps the exit status when there is no
TMS to ask for it.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import select
import signal
import socket
import sys
import time

if __name__ == "__main__":
    # Isolated (-I), Python knows no path but the standard library's.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from ewms_tms import event_text
from ewms_tms.process_tree import (
    descendants,
    kill_descendants,
    read_text,
    reap_orphans,
    resident_bytes,
)

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
HOLD_REQUEST, HOLD_NO_PROCESS, HOLD_MEMORY, HOLD_DURATION = 1, 6, 34, 46
# Seconds: between looks at the memory, before SIGKILL follows SIGTERM, and between counts.
MEMORY_INTERVAL = 1.0
GRACE = 10.0
COUNTS_INTERVAL = 60.0
FULL_DISK_WAIT = 1.0
FIRST_SIGNAL_CODE = 128
COUNTS = "HTChirpEWMSPilotTasks"
ERROR = "HTChirpEWMSPilotError"

prctl = ctypes.CDLL(None, use_errno=True).prctl


class Worker:
    """One run of one proc."""

    def __init__(self, proc: int) -> None:
        with open("cluster.json", encoding="utf-8") as file:
            self.cluster = json.load(file)
        self.proc = proc
        self.id = (self.cluster["cluster_id"], proc)
        # Of a plain job; a pilot's is in the env file.
        self.environment = self.cluster.get("environment")
        self.is_pilot = self.environment is None
        self.scratch = f"{proc}.scratch"
        self.env_path = f"{proc}.env.json"
        self.chirp_path = f"{proc}.chirp"
        self.stderr_path = ""
        self.pilot = 0
        # What ends the worker other than itself: an event of the log, and when SIGKILL is due.
        self.ending: str | None = None
        self.kill_at: float | None = None
        self.looked_at = 0.0
        self.counts: dict[str, str] = {}
        self.counts_at = 0.0
        self.has_told_error = False

    def run(self) -> None:
        """From before `execute` to after the last event."""
        signals, chirps = self.listen()
        self.prepare()
        self.log(event_text.executing(*self.id, os.uname().nodename))
        error = self.start()
        if error:
            return self.log(event_text.held(*self.id, error, HOLD_NO_PROCESS))
        status = self.watch(signals, chirps)
        kill_descendants()
        self.hear(chirps)
        self.tell_counts()
        self.tell_last_words(status)
        self.tidy()
        self.log(self.ending or self.natural_ending(status))

    def listen(self) -> tuple[int, socket.socket]:
        """Where signals and chirps arrive; from now on no signal is lost, and none kills."""
        read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        remove_file(self.chirp_path)
        chirps = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        chirps.bind(self.chirp_path)
        return read_end, chirps

    def prepare(self) -> None:
        """The worker's own folder with its input files, and its own copy of the secrets."""
        remove_tree(self.scratch)
        os.mkdir(self.scratch, 0o700)
        if os.path.isdir("files"):
            import shutil  # not light, and most workers have no files

            shutil.copytree("files", self.scratch, dirs_exist_ok=True)
        with open("env.json", "rb") as master:
            secrets = master.read()
        remove_file(self.env_path)
        copy = os.open(self.env_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(copy, secrets)
        os.close(copy)

    def start(self) -> str:
        """Run the pilot; an error in words if it could not be executed."""
        output = "." if self.cluster["keep_output"] else self.scratch
        out = open_output(f"{output}/{self.proc}.out")
        self.stderr_path = f"{output}/{self.proc}.err"
        err = open_output(self.stderr_path)
        failed, fail = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid()
        self.pilot = os.fork()
        if self.pilot == 0:
            self.become_pilot(parent, out, err, fail)
        for descriptor in (out, err, fail):
            os.close(descriptor)
        error = os.read(failed, 1024).decode(errors="replace")
        os.close(failed)
        if error:
            os.waitpid(self.pilot, 0)
        return error

    def become_pilot(self, parent: int, out: int, err: int, fail: int) -> None:
        """In the child: never returns."""
        try:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            os.setpgid(0, 0)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out, 1)
            os.dup2(err, 2)
            folder = os.getcwd()
            os.chdir(self.scratch)
            command = self.cluster["command"]
            environment = {
                "EWMS_PILOT_ENV_FILE": f"{folder}/{self.env_path}",
                # A path by way of the starter's folder: a socket's name has room for 107 bytes.
                "EWMS_PILOT_CHIRP_SOCKET": f"/proc/{parent}/cwd/{self.chirp_path}",
            }
            if not self.is_pilot:
                command = [word.replace("$(Process)", str(self.proc)) for word in command]
                environment = self.environment
            os.execvpe(command[0], command, {**os.environ, **environment})
        except BaseException as error:
            os.write(fail, f"it could not be executed: {error}".encode()[:1024])
        os._exit(1)

    def watch(self, signals: int, chirps: socket.socket) -> int:
        """Until the pilot has ended: its wait status."""
        poll = select.poll()
        poll.register(signals, select.POLLIN)
        poll.register(chirps, select.POLLIN)
        started = time.monotonic()
        while True:
            poll.poll(MEMORY_INTERVAL * 1000)
            self.obey(drain(signals))
            self.hear(chirps)
            pid, status = os.waitpid(self.pilot, os.WNOHANG)
            if pid:
                return status
            if time.monotonic() - self.looked_at >= MEMORY_INTERVAL:
                self.looked_at = time.monotonic()
                self.check_limits(self.looked_at - started)
            if self.kill_at is not None and time.monotonic() >= self.kill_at:
                os.kill(self.pilot, signal.SIGKILL)
            reap_orphans(self.pilot)

    def obey(self, signals: bytes) -> None:
        """Stop the worker, if a signal asked for it."""
        if signal.SIGTERM in signals:
            reason = read_text("removal")
            if reason is None:
                self.stop(event_text.evicted(*self.id, "The worker was asked to stop.", 15))
            else:
                self.stop(event_text.aborted(*self.id, reason))
        elif signal.SIGUSR1 in signals:
            self.stop(event_text.held(*self.id, read_text("hold") or "", HOLD_REQUEST))

    def check_limits(self, runtime: float) -> None:
        """Stop the worker if it has had its time, or takes more memory than it asked for."""
        if self.ending is not None:
            return
        longest, most = self.cluster["max_runtime_seconds"], self.cluster["memory_bytes"]
        if runtime > longest:
            reason = f"The job exceeded allowed job duration of {longest} seconds."
            self.stop(event_text.held(*self.id, reason, HOLD_DURATION))
            return
        used = sum(resident_bytes(pid) for pid in descendants(os.getpid()))
        if used > most:
            reason = f"Memory usage of {used} bytes is above the {most} bytes that were asked for."
            self.stop(event_text.held(*self.id, reason, HOLD_MEMORY), grace=0)

    def stop(self, ending: str, grace: float = GRACE) -> None:
        """Ask the pilot to end, with `grace` seconds for it. The last ending asked for stands."""
        self.ending = ending
        if self.kill_at is None:
            os.kill(self.pilot, signal.SIGTERM if grace else signal.SIGKILL)
            self.kill_at = time.monotonic() + grace

    def hear(self, chirps: socket.socket) -> None:
        """Pass on what the pilot said: counts now and then, all else at once."""
        said = []
        while True:
            try:
                text = chirps.recv(65536).decode(errors="replace")
            except BlockingIOError:
                break
            verb, _, text = text.partition(" ")
            if verb != "ulog":
                continue
            name = text.partition(":")[0]
            if name.startswith(COUNTS):
                self.counts[name] = text
                continue
            self.has_told_error |= name == ERROR
            said.append(event_text.generic(*self.id, text))
        if said:
            self.log(*said)
        if self.counts and time.monotonic() - self.counts_at > COUNTS_INTERVAL:
            self.tell_counts()

    def tell_counts(self) -> None:
        """The newest counts, if there are any that are not in the log."""
        if self.counts:
            self.log(*(event_text.generic(*self.id, text) for text in self.counts.values()))
            self.counts, self.counts_at = {}, time.monotonic()

    def tell_last_words(self, status: int) -> None:
        """The end of stderr, of a pilot that failed without saying why."""
        if status == 0 or self.ending is not None or self.has_told_error or not self.is_pilot:
            return
        with open(self.stderr_path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            lines = file.read().decode(errors="replace").strip().splitlines()
        how = os.waitstatus_to_exitcode(status)
        text = f"exit code {how}" if how >= 0 else f"signal {-how}"
        last = f": {lines[-1]}" if lines else ""
        self.log(event_text.generic(*self.id, f"{ERROR}: {text}{last}"))

    def natural_ending(self, status: int) -> str:
        """The event of a pilot that ended by itself: a signal's code counts as the signal.

        A plain job has ended then, too; how is for its task to judge.
        """
        code = os.waitstatus_to_exitcode(status)
        if not self.is_pilot:
            ended = event_text.exited if code >= 0 else event_text.ended_by_signal
            return ended(*self.id, abs(code))
        if 0 <= code < FIRST_SIGNAL_CODE:
            return event_text.exited(*self.id, code)
        number = -code if code < 0 else code - FIRST_SIGNAL_CODE
        return event_text.evicted(*self.id, f"The worker was ended by signal {number}.", number)

    def tidy(self) -> None:
        """Leave no file of this run but the output that is to be kept."""
        remove_file(self.env_path)
        remove_file(self.chirp_path)
        remove_tree(self.scratch)

    def log(self, *events: str) -> None:
        """Append to the job event log, as soon as the disk has room."""
        while True:
            try:
                return event_text.append(self.cluster["log"], *events)
            except OSError as error:
                if error.errno not in (None, errno.ENOSPC, errno.EDQUOT):
                    raise
                time.sleep(FULL_DISK_WAIT)


def drain(pipe: int) -> bytes:
    """What is in the pipe now."""
    try:
        return os.read(pipe, 4096)
    except BlockingIOError:
        return b""


def open_output(path: str) -> int:
    """A new file for the worker's output."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)


def remove_file(path: str) -> None:
    """No such file any more, if it can be removed."""
    try:
        os.unlink(path)
    except OSError:
        return


def remove_tree(path: str) -> None:
    """No such folder any more; what cannot be removed stays for the folder's own end."""
    for folder, folders, files in os.walk(path, topdown=False):
        for name in files:
            remove_file(f"{folder}/{name}")
        for name in folders:
            remove_folder(f"{folder}/{name}")
    remove_folder(path)


def remove_folder(path: str) -> None:
    """No such empty folder, or link to one, any more."""
    try:
        os.unlink(path) if os.path.islink(path) else os.rmdir(path)
    except OSError:
        return


def main() -> None:
    """`local_starter.py FOLDER PROC LOCK`: the cluster's folder, and the locked descriptor."""
    folder, proc, lock = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    os.set_inheritable(lock, False)
    os.chdir(folder)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        os.pwrite(lock, f"{os.getpid()} {file.read().strip()}\n".encode(), 0)
    Worker(proc).run()


if __name__ == "__main__":
    main()
