"""A Slurm of its own on this machine, on loopback addresses only: munged, MariaDB, slurmdbd,
slurmctld and slurmd, as Debian's packages install them.

    python tests/servers/slurm.py bash     # a shell in which sbatch, squeue, sacct work

MariaDB and slurmdbd are there for `sacct`, without which submitit waits for ever for a job that was
cancelled.
"""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from processes import end, free_ports, kill, listening, marked, wait_until

PACKAGES = {  # Debian's package of each program
    "munged": "munge",
    "mariadbd": "mariadb-server-core",
    "mariadb-install-db": "mariadb-server-core",
    "my_print_defaults": "mariadb-client-core",
    "slurmdbd": "slurmdbd",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "ss": "iproute2",
}
GOING_ON = "PENDING", "RUNNING", "REQUEUED", "COMPLETING", "SUSPENDED"
DAEMONS = "munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "slurmstepd", "srun"
WAIT_S = 60  # at most, until a daemon answers; it takes a second or two
# CPUs that Slurm may give to jobs, however many there are: jobs of 4 run side by side.
CPUS = 16

# NoInAddrAny binds to what the machine's name stands for; `_namespace` makes that localhost. A
# requeued job waits until the credentials of its former run have expired (120 s by default, 5 at
# least). AccountingStoragePass is the socket of munged for what is said to slurmdbd.
SLURM = """
ClusterName=vecsim
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={slurmctld}
SlurmdPort={slurmd}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={munge}/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
ReturnToService=2
JobRequeue=1
KillWait=2
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={slurmdbd}
AccountingStoragePass={munge}/socket
JobAcctGatherType=jobacct_gather/none
NodeName=localhost NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""
SLURMDBD = """
AuthType=auth/munge
AuthInfo=socket={munge}/socket
CommunicationParameters=NoInAddrAny
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={slurmdbd}
SlurmUser={user}
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=accounting
"""


class Slurm:
    """A running Slurm. environment: what its commands need. folder: its files and logs."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.conf = folder / "slurm.conf"
        self.environment = {"SLURM_CONF": str(self.conf)}
        self.mark = f"SLURM_CONF={self.conf}"  # in the environment of all its processes
        self.started: list[subprocess.Popen] = []

    def command(self, *words: str, check: bool = True, **options) -> str:
        """What one of Slurm's commands prints."""
        environment = {**os.environ, **self.environment}
        options = {"capture_output": True, "text": True, "env": environment, **options}
        return subprocess.run(words, check=check, **options).stdout.strip()

    def accounts(self, job: str, *options: str, fields: str = "State,ExitCode") -> list[list[str]]:
        """What `sacct` says of a job, or of each task of an array, the number first; not of its
        steps. Of former runs of a requeued job only with --duplicates among the options."""
        words = "sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}"
        told = self.command(*words, f"--format=JobID,{fields}", *options)
        return [line.split("|") for line in told.splitlines()]

    def ended(self, *jobs: str, within_s: float = 120) -> None:
        """Wait for the end of jobs, with all tasks where they are arrays."""

        def over() -> bool:
            states = [{row[1] for row in self.accounts(job)} for job in jobs]
            return all(each and not each & set(GOING_ON) for each in states)

        wait_until(over, within_s, f"the end of {', '.join(jobs)}")

    def processes(self) -> dict[int, str]:
        """Number and name of each of its daemons, of their steps and of `srun` within jobs."""
        every = marked(self.mark)
        return {number: name for number, name in every.items() if name in DAEMONS}

    def listening(self) -> dict[str, set[str]]:
        """The addresses on which they listen, by name."""
        found: dict[str, set[str]] = {}
        names = self.processes()
        for number, addresses in listening(names).items():
            found.setdefault(names[number], set()).update(addresses)
        return found

    def logs(self) -> str:
        files = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{file.name}:\n{file.read_text()[-2000:]}" for file in files)

    def daemon(self, *words: str, user: str | None = None, namespace: bool = True) -> None:
        environment = {**os.environ, **self.environment, "PATH": _path()}
        environment["MYSQL_UNIX_PORT"] = f"{self.folder}/mariadb/socket"
        prefix = ["setpriv", "--pdeathsig", "TERM"]  # it ends with whoever started it
        prefix += _namespace() if namespace else []
        with (self.folder / f"{words[0]}.log").open("w") as log:
            options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            begun = subprocess.Popen(
                [*prefix, *words], user=user, env=environment, start_new_session=True, **options
            )
        self.started.append(begun)

    def wait(self, true, what: str) -> None:
        wait_until(true, WAIT_S, what, self.started)


def lacking() -> str:
    """Why no Slurm can be started here; empty where one can."""
    found = {name: shutil.which(name, path=_path()) for name in PACKAGES}
    packages = sorted({PACKAGES[name] for name in PACKAGES if not found[name]})
    if packages:
        return f"Debian packages not installed: {' '.join(packages)} (.ci/servers installs them)"
    if not _namespace() and not _is_loopback(socket.gethostname()):
        return "the machine's name is not that of a loopback address, and `unshare` is not allowed"
    return ""


@contextlib.contextmanager
def running() -> Iterator[Slurm]:
    """A Slurm that is ready for jobs; every process of it is ended with the context."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)  # munged and MariaDB are users of their own
    slurm = Slurm(folder)
    try:
        _start(slurm)
        yield slurm
    except BaseException as error:
        error.add_note(slurm.logs())
        raise
    finally:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            slurm.command("scancel", "--me", timeout=10, check=False)
        end(reversed(slurm.started))  # a daemon before those that it needs
        kill(marked(slurm.mark).keys() - {os.getpid()})  # jobs that ran, with their steps
        shutil.rmtree(folder, ignore_errors=True)


def _start(slurm: Slurm) -> None:
    folder = slurm.folder
    me = pwd.getpwuid(os.geteuid()).pw_name
    names = {"folder": folder, "munge": folder / "munge", "user": me, "cpus": CPUS}
    names |= free_ports("slurmctld", "slurmd", "slurmdbd")
    slurm.conf.write_text(SLURM.format(**names))
    accounting = folder / "slurmdbd.conf"
    accounting.write_text(SLURMDBD.format(**names))
    accounting.chmod(0o600)
    for name in ("state", "spool", "munge", "mariadb"):
        (folder / name).mkdir(mode=0o755)

    _munged(slurm, folder / "munge")
    _mariadbd(slurm, folder / "mariadb")
    slurm.daemon("slurmdbd", "-D")
    add = "sacctmgr", "-i", "add", "cluster", "vecsim"
    slurm.wait(lambda: "Adding" in slurm.command(*add, check=False), "an answer of slurmdbd")
    slurm.daemon("slurmctld", "-D", "-c")
    slurm.daemon("slurmd", "-D", "-N", "localhost")
    state = "sinfo", "-h", "-o", "%T"
    slurm.wait(lambda: slurm.command(*state, check=False) == "idle", "an idle node")


def _munged(slurm: Slurm, folder: Path) -> None:
    user = "munge" if os.geteuid() == 0 else None
    key = folder / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    if user:
        shutil.chown(folder, user)
        shutil.chown(key, user)
    socket_, places = folder / "socket", ("key", "log", "pid", "seed")
    files = [f"--{name}-file={folder}/{name}" for name in places]
    words = "munged", "--foreground", f"--socket={socket_}", *files
    slurm.daemon(*words, user=user, namespace=False)
    slurm.wait(socket_.exists, "munged's socket")


def _mariadbd(slurm: Slurm, folder: Path) -> None:
    """Without the network, without passwords: whoever reaches the socket is root of MariaDB."""
    data, socket_ = folder / "data", folder / "socket"
    user = "mysql" if os.geteuid() == 0 and _exists("mysql") else None
    if user:
        shutil.chown(folder, user)
        folder.chmod(0o700)
    every = ["--no-defaults", f"--datadir={data}", "--skip-log-bin", "--innodb-log-file-size=8M"]
    make = ["mariadb-install-db", *every, "--skip-test-db"]
    with (slurm.folder / "install.log").open("w") as log:
        make += ["--auth-root-authentication-method=normal"]
        subprocess.run(make, check=True, user=user, cwd="/", stdout=log, stderr=log)
    words = [*every, "--skip-networking", f"--socket={socket_}", f"--pid-file={folder}/pid"]
    words += ["--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync"]
    words += ["--user=root"] if os.geteuid() == 0 and not user else []
    slurm.daemon("mariadbd", *words, user=user, namespace=False)
    slurm.wait(socket_.exists, "MariaDB's socket")


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _namespace() -> list[str]:
    """The words before a command that make the machine's name `localhost` for it alone."""
    words = ["unshare", "--uts", "sh", "-c", 'hostname localhost && exec "$@"', "sh"]
    with contextlib.suppress(OSError):
        if subprocess.run([*words, "true"], capture_output=True).returncode == 0:
            return words
    return []


def _is_loopback(name: str) -> bool:
    try:
        return socket.gethostbyname(name).startswith("127.")
    except OSError:
        return False


def _exists(user: str) -> bool:
    return any(each.pw_name == user for each in pwd.getpwall())


if __name__ == "__main__":
    if reason := lacking():
        sys.exit(reason)
    with running() as here:
        environment = {**os.environ, **here.environment}
        sys.exit(subprocess.run(sys.argv[1:], env=environment).returncode)
