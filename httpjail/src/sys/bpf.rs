//! `bpf(2)`, as far as loading cgroup programs needs it.
//!
//! aya's own loader parses the whole type information of the running kernel before it does anything (15 ms of a 30 ms
//! start); none of our programs needs that. So the object is parsed by `aya-obj` and brought into the kernel by these few
//! calls. Each takes and returns owned or borrowed descriptors and checks sizes itself: nothing here can be misused from
//! safe code. The layouts are those of `union bpf_attr` in include/uapi/linux/bpf.h; the kernel takes an attribute shorter
//! than its own for one whose rest is zero.

use aya::Pod;
use std::ffi::{CStr, CString};
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const BPF_MAP_CREATE: i32 = 0;
const BPF_MAP_LOOKUP_ELEM: i32 = 1;
const BPF_MAP_UPDATE_ELEM: i32 = 2;
const BPF_PROG_LOAD: i32 = 5;
const BPF_OBJ_PIN: i32 = 6;
const BPF_OBJ_GET_INFO_BY_FD: i32 = 15;
const BPF_PROG_QUERY: i32 = 16;
const BPF_BTF_LOAD: i32 = 18;
const BPF_MAP_LOOKUP_AND_DELETE_ELEM: i32 = 21;
const BPF_LINK_CREATE: i32 = 28;

/// What a map is made of.
#[derive(Debug, Clone, Copy)]
pub struct MapDef<'a> {
    /// `BPF_MAP_TYPE_*`.
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// How many entries fit; bytes for a ring buffer.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// The type information, and the ids in it of the key's and the value's type, for the maps that insist on it.
    pub types: Option<(BorrowedFd<'a>, u32, u32)>,
}

/// Makes a map.
///
/// # Errors
/// EPERM without CAP_BPF; EINVAL where the kernel does not know the type; ENOMEM.
pub fn map_create(name: &str, def: &MapDef<'_>) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        map_flags: u32,
        inner_map_fd: u32,
        numa_node: u32,
        map_name: [u8; 16],
        map_ifindex: u32,
        btf_fd: u32,
        btf_key_type_id: u32,
        btf_value_type_id: u32,
    }
    let (btf_fd, btf_key_type_id, btf_value_type_id) =
        def.types.map_or((0, 0, 0), |(fd, key, value)| (raw(fd), key, value));
    let mut attr = Attr {
        map_type: def.map_type,
        key_size: def.key_size,
        value_size: def.value_size,
        max_entries: def.max_entries,
        map_flags: def.flags,
        inner_map_fd: 0,
        numa_node: 0,
        map_name: object_name(name),
        map_ifindex: 0,
        btf_fd,
        btf_key_type_id,
        btf_value_type_id,
    };
    // SAFETY: the attribute holds no pointers; the call returns a new descriptor.
    unsafe { bpf_fd(BPF_MAP_CREATE, &mut attr) }
}

/// A map whose keys are `K` and whose values are `V`: the sizes were compared with the kernel's once, when it was made.
#[derive(Debug)]
pub struct Map<K, V> {
    fd: OwnedFd,
    types: PhantomData<fn(K) -> V>,
}

impl<K: Pod, V: Pod> Map<K, V> {
    /// Takes a map's descriptor.
    ///
    /// # Errors
    /// EINVAL if it is no map or one of other sizes.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let info = map_info(fd.as_fd())?;
        // A per-CPU map's values come as one slot for each CPU, which `lookup` has no room for.
        let per_cpu = matches!(info.map_type, 5 | 6 | 10 | 21);
        if info.key_size as usize != size_of::<K>() || info.value_size as usize != size_of::<V>() || per_cpu {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        Ok(Map { fd, types: PhantomData })
    }

    /// Writes a value.
    ///
    /// # Errors
    /// The kernel's: E2BIG when the map is full, ENOENT where there is no such key and none can be added.
    pub fn update(&self, key: &K, value: &V) -> io::Result<()> {
        let mut attr = element(
            self.fd.as_fd(),
            (&raw const *key).addr_u64(),
            (&raw const *value).addr_u64(),
        );
        // SAFETY: the kernel reads as many bytes as `K` and `V` have: checked in `new`.
        unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
    }

    /// Reads the value of `key`.
    ///
    /// # Errors
    /// EPERM where the kernel lets no unprivileged process read a map (before Linux 5.19).
    pub fn lookup(&self, key: &K) -> io::Result<Option<V>> {
        self.read(BPF_MAP_LOOKUP_ELEM, key)
    }

    /// Reads the value of `key` and removes it in one step: of two callers, one gets it. Hash maps only.
    ///
    /// # Errors
    /// As for `lookup`; also EINVAL before Linux 5.14.
    pub fn take(&self, key: &K) -> io::Result<Option<V>> {
        self.read(BPF_MAP_LOOKUP_AND_DELETE_ELEM, key)
    }

    fn read(&self, command: i32, key: &K) -> io::Result<Option<V>> {
        let mut value = MaybeUninit::<V>::zeroed();
        let mut attr = element(
            self.fd.as_fd(),
            (&raw const *key).addr_u64(),
            value.as_mut_ptr().addr_u64(),
        );
        // SAFETY: the kernel reads as many bytes as `K` has and writes as many as `V` has: checked in `new`.
        match unsafe { bpf(command, &mut attr) } {
            // SAFETY: zeroed and then written by the kernel; every bit pattern of a `Pod` is valid.
            Ok(_) => Ok(Some(unsafe { value.assume_init() })),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl<K, V> AsFd for Map<K, V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Adds up what each CPU counted under `index` of a per-CPU array of `u64`.
///
/// # Errors
/// EINVAL if it is another kind of map; otherwise the kernel's.
pub fn per_cpu_sum(map: BorrowedFd<'_>, index: u32) -> io::Result<u64> {
    const BPF_MAP_TYPE_PERCPU_ARRAY: u32 = 6;
    let info = map_info(map)?;
    if info.map_type != BPF_MAP_TYPE_PERCPU_ARRAY || info.key_size != 4 || info.value_size != 8 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
    let mut values = vec![0_u64; cpus];
    let mut attr = element(map, (&raw const index).addr_u64(), values.as_mut_ptr().addr_u64());
    // SAFETY: the kernel reads four bytes and writes eight for each possible CPU: that many has the vector.
    unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut attr) }?;
    Ok(values.into_iter().fold(0, u64::wrapping_add))
}

/// Writes the one value of a single-element array: the initial global data of an object.
///
/// # Errors
/// EINVAL if it is another kind of map or the value has another size; otherwise the kernel's.
pub fn map_fill(map: BorrowedFd<'_>, value: &[u8]) -> io::Result<()> {
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    let info = map_info(map)?;
    if info.map_type != BPF_MAP_TYPE_ARRAY || info.key_size != 4 || info.value_size as usize != value.len() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let index = 0_u32;
    let mut attr = element(map, (&raw const index).addr_u64(), value.as_ptr().addr_u64());
    // SAFETY: the kernel reads four bytes of key and as many of the value as the slice has: checked above.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
}

/// The kernel's number for a loaded program.
///
/// # Errors
/// EBADF or EINVAL if it is none.
#[cfg(feature = "bpf-trace")]
pub fn prog_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    // `struct bpf_prog_info` begins as `struct bpf_map_info` does: type, id.
    map_info(program).map(|info| info.id)
}

/// Reads a plain value from the start of `bytes`; `None` if there are too few.
pub fn read_pod<T: Pod>(bytes: &[u8]) -> Option<T> {
    let bytes = bytes.get(..size_of::<T>())?;
    // SAFETY: as many bytes as `T` has, at any alignment; every bit pattern of a `Pod` is valid.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// Gives the kernel the type information of an object.
///
/// # Errors
/// EINVAL where the kernel does not understand it, EPERM without CAP_BPF.
pub fn btf_load(btf: &[u8]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        btf: u64,
        log_buf: u64,
        btf_size: u32,
        log_size: u32,
        log_level: u32,
        padding: u32,
    }
    let size = u32::try_from(btf.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let mut attr = Attr {
        btf: btf.as_ptr().addr_u64(),
        log_buf: 0,
        btf_size: size,
        log_size: 0,
        log_level: 0,
        padding: 0,
    };
    // SAFETY: the kernel reads `btf_size` bytes at `btf`; the call returns a new descriptor.
    unsafe { bpf_fd(BPF_BTF_LOAD, &mut attr) }
}

/// Loads and verifies a program of whole instructions, each eight bytes. `log` receives the verifier's words; leave it empty
/// for speed, and ask again with one when the program was refused.
///
/// # Errors
/// EPERM without the capabilities, EACCES or EINVAL from the verifier, ENOSPC when the log was too short.
pub fn prog_load<I: Copy>(
    name: &str,
    prog_type: u32,
    attach_type: u32,
    instructions: &[I],
    license: &CStr,
    log: &mut [u8],
) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; 16],
        prog_ifindex: u32,
        expected_attach_type: u32,
    }
    const { assert!(size_of::<I>() == 8) };
    let too_big = |_| io::Error::from_raw_os_error(libc::E2BIG);
    let mut attr = Attr {
        prog_type,
        insn_cnt: u32::try_from(instructions.len()).map_err(too_big)?,
        insns: instructions.as_ptr().addr_u64(),
        license: license.as_ptr().addr_u64(),
        log_level: u32::from(!log.is_empty()),
        log_size: u32::try_from(log.len()).map_err(too_big)?,
        log_buf: if log.is_empty() { 0 } else { log.as_mut_ptr().addr_u64() },
        kern_version: 0,
        prog_flags: 0,
        prog_name: object_name(name),
        prog_ifindex: 0,
        expected_attach_type: attach_type,
    };
    // SAFETY: the kernel reads `insn_cnt` times eight bytes and the licence up to its NUL, and writes at most `log_size`
    // bytes; the call returns a new descriptor.
    unsafe { bpf_fd(BPF_PROG_LOAD, &mut attr) }
}

/// Attaches a program to a cgroup. It stays attached until the last descriptor of the link is closed.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN or where a parent cgroup holds an exclusive program; EINVAL for an unknown attach type; EBADF
/// if `cgroup` is none.
pub fn link_create(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>, attach_type: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        target_fd: u32,
        attach_type: u32,
        flags: u32,
    }
    // Flags 0: links on cgroups always live beside other programs; the legacy flags are EINVAL here.
    let mut attr = Attr {
        prog_fd: raw(program),
        target_fd: raw(cgroup),
        attach_type,
        flags: 0,
    };
    // SAFETY: the attribute holds no pointers; the call returns a new descriptor.
    unsafe { bpf_fd(BPF_LINK_CREATE, &mut attr) }
}

/// Gives an object a name in a bpffs, which keeps it alive.
///
/// # Errors
/// EPERM if the path is not on a bpffs, EEXIST, or EINVAL for a path with a NUL.
pub fn obj_pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = Attr {
        pathname: path.as_ptr().addr_u64(),
        bpf_fd: raw(object),
        file_flags: 0,
    };
    // SAFETY: the kernel reads the path up to its NUL.
    unsafe { bpf(BPF_OBJ_PIN, &mut attr) }.map(drop)
}

/// How many programs of this type are attached to the cgroup itself (not those inherited).
///
/// # Errors
/// EPERM without CAP_NET_ADMIN, EINVAL for an unknown attach type.
pub fn attached_count(cgroup: BorrowedFd<'_>, attach_type: u32) -> io::Result<u32> {
    #[repr(C)]
    struct Attr {
        target_fd: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        prog_ids: u64,
        prog_cnt: u32,
        padding: u32,
    }
    let mut attr = Attr {
        target_fd: raw(cgroup),
        attach_type,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: 0,
        prog_cnt: 0,
        padding: 0,
    };
    // SAFETY: without an array of ids the kernel only writes the count, into the attribute itself.
    unsafe { bpf(BPF_PROG_QUERY, &mut attr) }?;
    Ok(attr.prog_cnt)
}

/// Attaches a program the old way with flags 0: it shuts out every program below. Only to try what happens then.
#[cfg(test)]
pub(crate) fn attach_exclusively(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>, attach_type: u32) -> io::Result<()> {
    let mut attr = [raw(cgroup), raw(program), attach_type, 0];
    // SAFETY: the attribute holds no pointers.
    unsafe { bpf(8, &mut attr) }.map(drop)
}

/// The cookie of the network namespace in which `socket` was made: the kernel's own name for it, never used twice.
///
/// # Errors
/// ENOPROTOOPT before Linux 5.14; ENOTSOCK.
pub fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    const SO_NETNS_COOKIE: i32 = 71;
    let mut cookie = 0_u64;
    let mut len = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes into `cookie` and the length back into `len`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    if result == 0 {
        Ok(cookie)
    } else {
        Err(io::Error::last_os_error())
    }
}

struct MapInfo {
    map_type: u32,
    #[cfg(feature = "bpf-trace")]
    id: u32,
    key_size: u32,
    value_size: u32,
}

fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    #[repr(C)]
    struct Attr {
        bpf_fd: u32,
        info_len: u32,
        info: u64,
    }
    // The head of `struct bpf_map_info`: type, id, key_size, value_size.
    let mut info = [0_u32; 4];
    let mut attr = Attr {
        bpf_fd: raw(map),
        info_len: size_of_val(&info) as u32,
        info: info.as_mut_ptr().addr_u64(),
    };
    // SAFETY: the kernel writes at most `info_len` bytes at `info`. For another kind of BPF object it would write that one's
    // head, also four words of plain numbers.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(MapInfo {
        map_type: info[0],
        #[cfg(feature = "bpf-trace")]
        id: info[1],
        key_size: info[2],
        value_size: info[3],
    })
}

#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

fn element(map: BorrowedFd<'_>, key: u64, value: u64) -> ElementAttr {
    ElementAttr {
        map_fd: raw(map),
        padding: 0,
        key,
        value,
        flags: 0,
    }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    // Never negative: a `BorrowedFd` is open.
    fd.as_raw_fd().unsigned_abs()
}

/// A name as the kernel shows it: letters, digits, `_` and `.`, at most 15 bytes.
fn object_name(name: &str) -> [u8; 16] {
    let mut out = [0; 16];
    let allowed = name
        .bytes()
        .filter(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'));
    for (slot, byte) in out[..15].iter_mut().zip(allowed) {
        *slot = byte;
    }
    out
}

/// The kernel wants pointers as 64-bit numbers.
trait AddrU64 {
    fn addr_u64(self) -> u64;
}

impl<T> AddrU64 for *const T {
    fn addr_u64(self) -> u64 {
        self.expose_provenance() as u64
    }
}

impl<T> AddrU64 for *mut T {
    fn addr_u64(self) -> u64 {
        self.expose_provenance() as u64
    }
}

/// # Safety
/// Every pointer in `attr` must be good for what `command` does with it.
unsafe fn bpf<A>(command: i32, attr: &mut A) -> io::Result<i64> {
    // SAFETY: the kernel reads (and for some commands writes) at most `size_of::<A>()` bytes of the attribute; the caller
    // vouches for what it points to.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<A>()) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// # Safety
/// As for [`bpf`]; and `command` must be one that returns a new descriptor.
unsafe fn bpf_fd<A>(command: i32, attr: &mut A) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let fd = unsafe { bpf(command, attr) }?;
    let fd = i32::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
    // SAFETY: the kernel just made it and nobody else knows it. It is close-on-exec (`bpf_*_new_fd` pass O_CLOEXEC).
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
