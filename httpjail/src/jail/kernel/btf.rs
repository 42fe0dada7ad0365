//! Finds the offsets of kernel structures in the running kernel's own type information (BTF).
//!
//! Layouts differ between kernels, so each offset is looked up by name when a jail starts. An error names what was not
//! found, and another way is taken. The format is that of Documentation/bpf/btf.rst.

use std::collections::HashMap;

const MAGIC: u16 = 0xeb9f;
const PTR: u32 = 2;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNC: u32 = 12;
const TYPE_TAG: u32 = 18;

/// The types of a kernel.
pub(in crate::jail) struct Types<'bytes> {
    types: &'bytes [u8],
    strings: &'bytes [u8],
    /// Where each type begins; the first has the number 1.
    places: Vec<usize>,
    /// Numbers of structures and functions, of those that were asked for, by name.
    structures: HashMap<&'static str, u32>,
    functions: HashMap<&'static str, u32>,
}

struct Type {
    kind: u32,
    count: usize,
    bit_fields: bool,
    /// A size, or another type's number.
    other: u32,
    name: u32,
    place: usize,
}

impl<'bytes> Types<'bytes> {
    /// Reads the types, and looks for these structures and functions.
    pub(in crate::jail) fn read(
        bytes: &'bytes [u8],
        structures: &[&'static str],
        functions: &[&'static str],
    ) -> Option<Self> {
        if u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let word = |at| number(bytes, at);
        let header = word(4)? as usize;
        let part = |from: u32, length: u32| {
            let from = header.checked_add(from as usize)?;
            bytes.get(from..from.checked_add(length as usize)?)
        };
        let mut types = Types {
            types: part(word(8)?, word(12)?)?,
            strings: part(word(16)?, word(20)?)?,
            places: Vec::with_capacity(1 << 17),
            structures: HashMap::new(),
            functions: HashMap::new(),
        };
        let mut place = 0;
        while place < types.types.len() {
            let found = types.at(place)?;
            let id = u32::try_from(types.places.len() + 1).ok()?;
            types.places.push(place);
            place = place.checked_add(12 + found.tail()?)?;
            let (wanted, table) = match found.kind {
                STRUCT => (structures, &mut types.structures),
                FUNC => (functions, &mut types.functions),
                _ => continue,
            };
            let name = types.strings.get(found.name as usize..)?;
            let is = |wanted: &&&str| {
                // First what rules nearly all out: there are a hundred thousand.
                name.get(wanted.len()) == Some(&0) && name.starts_with(wanted.as_bytes())
            };
            if let Some(wanted) = wanted.iter().find(is) {
                table.insert(wanted, id);
            }
        }
        Some(types)
    }

    /// The number of a function.
    pub(in crate::jail) fn function(&self, name: &'static str) -> Result<u32, String> {
        let id = self.functions.get(name).copied();
        id.ok_or_else(|| format!("this kernel has no {name}"))
    }

    /// Which argument of a function, from 0 on, points to such a structure, and how many there are.
    pub(in crate::jail) fn parameter(
        &self,
        function: &'static str,
        structure: &'static str,
    ) -> Result<(i16, i16), String> {
        let missing = || format!("this kernel's {function} has no argument of type {structure}");
        let found = || {
            let wanted = *self.structures.get(structure)?;
            let function = self.numbered(self.function(function).ok()?)?;
            let prototype = self.numbered(function.other)?;
            let points_to_it = |index: &usize| {
                let id = number(self.types, prototype.place + 12 + index * 8 + 4);
                let pointer = id.and_then(|id| self.numbered(id));
                pointer.is_some_and(|pointer| pointer.kind == PTR && pointer.other == wanted)
            };
            let index = (0..prototype.count).find(points_to_it)?;
            Some((i16::try_from(index).ok()?, i16::try_from(prototype.count).ok()?))
        };
        found().ok_or_else(missing)
    }

    /// The offset of `path` (members in members, with dots) in a structure, in bytes.
    pub(in crate::jail) fn offset(&self, structure: &'static str, path: &str) -> Result<i16, String> {
        let missing = || format!("this kernel's {structure} has no {path}");
        let mut id = *self.structures.get(structure).ok_or_else(missing)?;
        let mut bits = 0;
        for name in path.split('.') {
            let (more, next) = self.member(id, name, 0).ok_or_else(missing)?;
            bits += more;
            id = next;
        }
        i16::try_from(bits / 8).map_err(|_| missing())
    }

    /// A member's offset in bits, and its type; also one of a member without a name.
    fn member(&self, id: u32, wanted: &str, depth: usize) -> Option<(u32, u32)> {
        let structure = self.structure(id)?;
        for index in 0..structure.count {
            let at = structure.place + 12 + index * 12;
            let (name, id, offset) = (
                number(self.types, at)?,
                number(self.types, at + 4)?,
                number(self.types, at + 8)?,
            );
            let offset = if structure.bit_fields {
                offset & 0xff_ffff
            } else {
                offset
            };
            let text = self.strings.get(name as usize..)?;
            if name != 0 && text.starts_with(wanted.as_bytes()) && text.get(wanted.len()) == Some(&0) {
                return Some((offset, id));
            }
            if name == 0
                && depth < 8
                && let Some((more, id)) = self.member(id, wanted, depth + 1)
            {
                return Some((offset + more, id));
            }
        }
        None
    }

    /// The structure or union that a type is, by whatever name.
    fn structure(&self, mut id: u32) -> Option<Type> {
        for _ in 0..16 {
            let found = self.numbered(id)?;
            match found.kind {
                STRUCT | UNION => return Some(found),
                TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => id = found.other,
                _ => return None,
            }
        }
        None
    }

    fn numbered(&self, id: u32) -> Option<Type> {
        self.at(*self.places.get((id as usize).checked_sub(1)?)?)
    }

    fn at(&self, place: usize) -> Option<Type> {
        let head: &[u8; 12] = self.types.get(place..)?.first_chunk()?;
        let ([name, info, other], _) = head.as_chunks::<4>() else {
            return None;
        };
        let info = u32::from_ne_bytes(*info);
        Some(Type {
            kind: (info >> 24) & 0x1f,
            count: (info & 0xffff) as usize,
            bit_fields: info >> 31 == 1,
            other: u32::from_ne_bytes(*other),
            name: u32::from_ne_bytes(*name),
            place,
        })
    }
}

impl Type {
    /// How many bytes follow the first twelve.
    fn tail(&self) -> Option<usize> {
        Some(match self.kind {
            PTR | 7..=FUNC | 16 | TYPE_TAG => 0,
            1 | 14 | 17 => 4,
            3 => 12,
            STRUCT | UNION | 15 | 19 => self.count * 12,
            6 | 13 => self.count * 8,
            _ => return None,
        })
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::Types;
    use crate::sys::bpf::kernel_types;

    #[test]
    fn the_running_kernels_types_are_found() {
        // A kernel without them has nothing to be read.
        let Ok(bytes) = kernel_types() else {
            return;
        };
        let types = Types::read(
            &bytes,
            &["socket", "sock", "pid_namespace", "dentry"],
            &["security_unix_may_send", "vfs_mknod"],
        )
        .unwrap();
        assert_eq!(types.offset("sock", "__sk_common"), Ok(0));
        assert!(types.offset("socket", "sk").unwrap() > 0);
        assert!(types.offset("sock", "__sk_common.skc_net.net").unwrap() > 0);
        assert!(types.offset("pid_namespace", "ns.inum").is_ok());
        assert!(types.function("security_unix_may_send").unwrap() > 0);
        assert!(
            types
                .parameter("vfs_mknod", "dentry")
                .is_ok_and(|(index, all)| index < all)
        );
        assert!(types.parameter("security_unix_may_send", "dentry").is_err());
        assert!(types.offset("socket", "no_such_member").is_err());
        assert!(types.function("no_such_function").is_err());
    }

    #[test]
    fn what_is_cut_short_is_no_type_information() {
        assert!(Types::read(&[], &[], &[]).is_none());
        assert!(Types::read(&[0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0], &[], &[]).is_none());
    }
}
