"""The filter of system calls for a process that opens strangers' files, as a BPF program for seccomp(2).

It takes away what a converter of files never needs and what ways out of a sandbox are made of: sockets, other programs
and processes, other processes' memory and signals, namespaces and mounts, and parts of the kernel with a history of
holes. A call that is refused fails with EPERM, so a library that asks for it goes on without.

Sources: seccomp(2); struct seccomp_data in include/uapi/linux/seccomp.h; the tables of system calls in
arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h (which aarch64 has).
"""

import errno
import struct
from dataclasses import dataclass

#: By name: its number on x86_64 and on aarch64; None where there is none.
_REFUSED: dict[str, tuple[int, int | None]] = {
    # sockets of any kind, to the network or to another process
    "socket": (41, 198), "connect": (42, 203), "accept": (43, 202), "sendto": (44, 206), "recvfrom": (45, 207),
    "sendmsg": (46, 211), "recvmsg": (47, 212), "bind": (49, 200), "listen": (50, 201), "socketpair": (53, 199),
    "accept4": (288, 242), "recvmmsg": (299, 243), "sendmmsg": (307, 269),
    # other programs and processes
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "tkill": (200, 130), "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # memory, messages and locks shared by number (System V, POSIX queues)
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190), "semop": (65, 193),
    "semctl": (66, 191), "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187),
    "semtimedop": (220, 192), "mq_open": (240, 180), "mq_unlink": (241, 181),
    # namespaces, mounts, and other ways to another view of the files
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "mknod": (133, None), "mknodat": (259, 33),
    # the kernel itself
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "swapon": (167, 224), "swapoff": (168, 225),
    "acct": (163, 89), "syslog": (103, 116), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266),
    "sethostname": (170, 161), "setdomainname": (171, 162), "vhangup": (153, 58), "personality": (135, 92),
    "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None), "uselib": (134, None),
    "lookup_dcookie": (212, 18), "nfsservctl": (180, 42), "fanotify_init": (300, 262),
    "bpf": (321, 280), "userfaultfd": (323, 282), "perf_event_open": (298, 241), "vmsplice": (278, 75),
    "memfd_secret": (447, 447), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
}  # fmt: skip
#: Allowed where their first argument is the calling process itself: abort() sends itself a signal.
_TO_ITSELF: dict[str, tuple[int, int]] = {
    "kill": (62, 129), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
}  # fmt: skip
_PRLIMIT = (302, 261)
_CLONE = (56, 220)
#: Takes its flags by address, where no filter can look: glibc goes on with clone where the kernel has no clone3.
_CLONE3 = 435

_CLONE_THREAD = 0x00010000
#: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_NEW_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000

# Instructions of classic BPF: load a word, jump by comparison, return.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_EPERM, _ENOSYS = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
# Places in struct seccomp_data; both platforms are little-endian, so the low half of an argument comes first.
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16
#: x86_64 has a second set of numbers for programs of 32-bit pointers.
_X32 = 0x40000000


@dataclass(frozen=True)
class Platform:
    """What the filter has to know of a processor: `column` of the tables, the kernel's name, seccomp's number."""

    column: int
    audit_arch: int
    seccomp: int


PLATFORMS = {"x86_64": Platform(0, 0xC000003E, 317), "aarch64": Platform(1, 0xC00000B7, 277)}

_Op = tuple[int, int, int, int]


def program(platform: Platform, pid: int) -> bytes:
    """The filter for the process `pid`, as an array of struct sock_filter."""
    ops: list[_Op] = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, platform.audit_arch), _returns(_KILL)]
    ops.append((_LOAD, 0, 0, _NUMBER))
    if platform.column == 0:
        ops += [(_AT_LEAST, 0, 1, _X32), _returns(_EPERM)]
    for number in refused(platform).values():
        ops += [(_EQUAL, 0, 1, number), _returns(_EPERM)]
    ops += [(_EQUAL, 0, 1, _CLONE3), _returns(_ENOSYS)]
    ops += _threads_alone(_CLONE[platform.column])
    for numbers in _TO_ITSELF.values():
        ops += _first_argument_is(numbers[platform.column], pid)
    ops += _first_argument_is(_PRLIMIT[platform.column], pid, 0)
    ops.append(_returns(_ALLOW))
    return b"".join(struct.pack("=HBBI", *op) for op in ops)


def refused(platform: Platform) -> dict[str, int]:
    """The calls that always fail, by name."""
    columns = {name: numbers[platform.column] for name, numbers in _REFUSED.items()}
    return {name: number for name, number in columns.items() if number is not None}


def _returns(action: int) -> _Op:
    return (_RETURN, 0, 0, action)


def _threads_alone(clone: int) -> list[_Op]:
    """clone(2) for a thread of this process, in the same namespaces."""
    return [
        (_EQUAL, 0, 5, clone),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_ANY_BIT, 2, 0, _NEW_NAMESPACES),
        (_ANY_BIT, 0, 1, _CLONE_THREAD),
        _returns(_ALLOW),
        _returns(_EPERM),
    ]


def _first_argument_is(number: int, *values: int) -> list[_Op]:
    """The call with one of these as its first argument (a process id: the kernel reads 32 bits of it)."""
    return [
        (_EQUAL, 0, len(values) + 3, number),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        *((_EQUAL, len(values) - place, 0, value) for place, value in enumerate(values)),
        _returns(_EPERM),
        _returns(_ALLOW),
    ]
