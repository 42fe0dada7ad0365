//! BPF maps: creates, reads and writes them.

use super::call::{AddrU64 as _, bpf, bpf_fd, object_name, raw};
use aya::Pod;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const BPF_MAP_CREATE: i32 = 0;
const BPF_MAP_LOOKUP_ELEM: i32 = 1;
const BPF_MAP_UPDATE_ELEM: i32 = 2;
const BPF_MAP_DELETE_ELEM: i32 = 3;
const BPF_OBJ_GET_INFO_BY_FD: i32 = 15;
const BPF_MAP_LOOKUP_AND_DELETE_ELEM: i32 = 21;

/// What a map is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MapDef<'a> {
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
pub(crate) fn map_create(name: &str, def: &MapDef<'_>) -> io::Result<OwnedFd> {
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
pub(crate) struct Map<K, V> {
    fd: OwnedFd,
    types: PhantomData<fn(K) -> V>,
}

impl<K: Pod, V: Pod> Map<K, V> {
    /// Takes a map's descriptor.
    ///
    /// # Errors
    /// EINVAL if it is no map or one of other sizes.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
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
    pub(crate) fn update(&self, key: &K, value: &V) -> io::Result<()> {
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
    pub(crate) fn lookup(&self, key: &K) -> io::Result<Option<V>> {
        self.read(BPF_MAP_LOOKUP_ELEM, key)
    }

    /// Reads the value of `key` and removes it in one step: of two callers, one gets it. Hash maps only.
    ///
    /// # Errors
    /// As for `lookup`; also EINVAL before Linux 5.14.
    pub(crate) fn take(&self, key: &K) -> io::Result<Option<V>> {
        self.read(BPF_MAP_LOOKUP_AND_DELETE_ELEM, key)
    }

    /// Removes the value of `key`, if there is one.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn remove(&self, key: &K) -> io::Result<()> {
        let mut attr = element(self.fd.as_fd(), (&raw const *key).addr_u64(), 0);
        // SAFETY: the kernel reads as many bytes as `K` has: checked in `new`.
        match unsafe { bpf(BPF_MAP_DELETE_ELEM, &mut attr) } {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
            _ => Ok(()),
        }
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
#[cfg(test)]
pub(crate) fn per_cpu_sum(map: BorrowedFd<'_>, index: u32) -> io::Result<u64> {
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
pub(crate) fn map_fill(map: BorrowedFd<'_>, value: &[u8]) -> io::Result<()> {
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

/// Reads a plain value from the start of `bytes`; `None` if there are too few.
pub(crate) fn read_pod<T: Pod>(bytes: &[u8]) -> Option<T> {
    let bytes = bytes.get(..size_of::<T>())?;
    // SAFETY: as many bytes as `T` has, at any alignment; every bit pattern of a `Pod` is valid.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

pub(super) struct MapInfo {
    map_type: u32,
    #[cfg(feature = "bpf-trace")]
    pub(super) id: u32,
    key_size: u32,
    value_size: u32,
}

pub(super) fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
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
