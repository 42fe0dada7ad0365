//! What a source file of the package names, read from its syntax tree.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use super::syntax::{documentation, flatten, is_for_tests};

/// The directory of the modules.
const ROOT: &str = "httpjail/src/";

/// A path of names below `crate`.
pub(super) type Path = Vec<String>;

/// One file.
#[derive(Debug)]
pub(super) struct Source {
    /// Where it is in the repository.
    pub file: String,
    /// Its module.
    pub module: Path,
    /// Only tests are built from it.
    pub test: bool,
    /// How many lines it has.
    pub lines: usize,
    /// What it names of its own crate.
    pub names: Vec<Name>,
    /// What can be named by way of it: a name, and the path that it stands for.
    pub reexports: Vec<(String, Path)>,
    /// Its functions, with the lines of each.
    pub functions: Vec<(String, usize)>,
    /// How many items, fields and methods are public, to all or to the crate.
    pub public: usize,
    /// How many doc comments have less than four words.
    pub short_docs: usize,
}

/// Something of the same crate that a file names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub line: usize,
    pub path: Path,
    /// Only tests name it.
    pub test: bool,
}

impl Source {
    /// Reads a file; `None` if it is none of the package's modules.
    ///
    /// # Errors
    /// When it is not Rust.
    pub(super) fn read(file: &str, text: &str) -> Result<Option<Source>> {
        let Some(module) = file.strip_prefix(ROOT).and_then(module) else {
            return Ok(None);
        };
        let tree = syn::parse_file(text).with_context(|| format!("parse {file}"))?;
        let test = module.iter().any(|name| name == "tests" || name == "testing");
        let children = tree.items.iter().filter_map(|item| match item {
            syn::Item::Mod(child) => Some(child.ident.to_string()),
            _ => None,
        });
        let mut reader = Reader {
            children: children.collect(),
            heads: BTreeSet::new(),
            base: module.clone(),
            test,
            source: Source {
                file: file.to_owned(),
                module,
                test,
                lines: text.lines().count(),
                names: Vec::new(),
                reexports: Vec::new(),
                functions: Vec::new(),
                public: 0,
                short_docs: 0,
            },
        };
        reader.visit_file(&tree);
        Ok(Some(reader.finish()))
    }
}

/// The path of names that leads to a module.
fn module(file: &str) -> Option<Path> {
    let mut path: Path = file.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
    if path.last().is_some_and(|last| last == "mod") {
        path.pop();
    }
    Some(path)
}

struct Reader {
    source: Source,
    /// The module that is read, which can lie within the file.
    base: Path,
    /// The modules that the file declares.
    children: BTreeSet<String>,
    /// What paths in the file begin with.
    heads: BTreeSet<String>,
    test: bool,
}

impl Reader {
    /// A re-export that the file uses itself is an import of it.
    fn finish(mut self) -> Source {
        let used = self
            .source
            .reexports
            .iter()
            .filter(|(name, _)| self.heads.contains(name));
        let test = self.test;
        let used = used.map(|(_, path)| Name {
            line: 1,
            path: path.clone(),
            test,
        });
        self.source.names.extend(used.collect::<Vec<_>>());
        self.source
    }

    /// The path below `crate` that these names lead to from here, if they do.
    fn absolute(&self, names: &[String]) -> Option<Path> {
        let (first, rest) = names.split_first()?;
        let mut base = match first.as_str() {
            "crate" => return Some(rest.to_vec()),
            "self" => self.base.clone(),
            "super" => parent(&self.base),
            name if self.children.contains(name) && self.base == self.source.module => {
                return Some([self.base.clone(), names.to_vec()].concat());
            }
            _ => return None,
        };
        let mut rest = rest;
        while rest.first().is_some_and(|name| name == "super") {
            base = parent(&base);
            rest = &rest[1..];
        }
        base.extend_from_slice(rest);
        Some(base)
    }

    fn name(&mut self, line: usize, names: &[String]) {
        if let Some(first) = names.first() {
            self.heads.insert(first.clone());
        }
        if names.len() < 2 {
            return;
        }
        if let Some(path) = self.absolute(names) {
            let test = self.test;
            self.source.names.push(Name { line, path, test });
        }
    }

    /// What a macro's tokens name: whatever looks like a path.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut names: Path = Vec::new();
        let (mut line, mut colons, mut own, mut dollar) = (0, 0, true, false);
        for token in tokens {
            match token {
                TokenTree::Ident(name) if colons == 2 && !names.is_empty() => {
                    names.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
                other => {
                    self.end_of_path(line, &mut names, own);
                    colons = 0;
                    own = !dollar;
                    dollar = matches!(&other, TokenTree::Punct(mark) if mark.as_char() == '$');
                    match other {
                        TokenTree::Ident(name) => {
                            line = name.span().start().line;
                            names.push(name.to_string());
                        }
                        TokenTree::Group(group) => self.tokens(group.stream()),
                        _ => {}
                    }
                }
            }
        }
        self.end_of_path(line, &mut names, own);
    }

    /// Another crate's `$crate::name` is not ours.
    fn end_of_path(&mut self, line: usize, names: &mut Path, own: bool) {
        if own {
            self.name(line, names);
        }
        names.clear();
    }

    /// Reads what only tests see as such.
    fn within<'a>(&mut self, attributes: &[syn::Attribute], read: impl FnOnce(&mut Self) + 'a) {
        let before = self.test;
        self.test |= attributes.iter().any(is_for_tests);
        self.docs(attributes);
        read(self);
        self.test = before;
    }

    fn docs(&mut self, attributes: &[syn::Attribute]) {
        let lines: Vec<String> = attributes.iter().filter_map(documentation).collect();
        let words: usize = lines.iter().map(|line| line.split_whitespace().count()).sum();
        if !self.test && !lines.is_empty() && words < 4 {
            self.source.short_docs += 1;
        }
    }

    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        if !self.test {
            let lines = block.span().end().line + 1 - signature.span().start().line;
            self.source.functions.push((signature.ident.to_string(), lines));
        }
    }
}

fn parent(path: &[String]) -> Path {
    path.split_last().map(|(_, rest)| rest.to_vec()).unwrap_or_default()
}

impl<'a> Visit<'a> for Reader {
    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.within(&item.attrs, |reader| {
            let mut found = Vec::new();
            flatten(&item.tree, &[], &mut found);
            let line = item.span().start().line;
            for (name, names) in found {
                let exported = reader
                    .absolute(&names)
                    .filter(|_| !matches!(item.vis, syn::Visibility::Inherited));
                // What lies below its own module a file only shows; what lies elsewhere it imports as well.
                if exported
                    .as_ref()
                    .is_none_or(|path| !path.starts_with(&reader.source.module))
                {
                    reader.name(line, &names);
                }
                reader.source.reexports.extend(exported.map(|path| (name, path)));
            }
        });
    }

    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        self.within(&item.attrs, |reader| {
            if item.content.is_some() {
                reader.base.push(item.ident.to_string());
                visit::visit_item_mod(reader, item);
                reader.base.pop();
            }
        });
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names: Path = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.name(path.span().start().line, &names);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'a syn::Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }

    fn visit_visibility(&mut self, visibility: &'a syn::Visibility) {
        if !self.test && !matches!(visibility, syn::Visibility::Inherited) {
            self.source.public += 1;
        }
    }

    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        self.within(&item.attrs, |reader| {
            reader.function(&item.sig, &item.block);
            visit::visit_item_fn(reader, item);
        });
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        self.within(&item.attrs, |reader| {
            reader.function(&item.sig, &item.block);
            visit::visit_impl_item_fn(reader, item);
        });
    }

    fn visit_item_struct(&mut self, item: &'a syn::ItemStruct) {
        self.within(&item.attrs, |reader| visit::visit_item_struct(reader, item));
    }

    fn visit_item_enum(&mut self, item: &'a syn::ItemEnum) {
        self.within(&item.attrs, |reader| visit::visit_item_enum(reader, item));
    }

    fn visit_item_impl(&mut self, item: &'a syn::ItemImpl) {
        self.within(&item.attrs, |reader| visit::visit_item_impl(reader, item));
    }

    fn visit_item_const(&mut self, item: &'a syn::ItemConst) {
        self.within(&item.attrs, |reader| visit::visit_item_const(reader, item));
    }

    fn visit_field(&mut self, field: &'a syn::Field) {
        self.within(&field.attrs, |reader| visit::visit_field(reader, field));
    }

    fn visit_variant(&mut self, variant: &'a syn::Variant) {
        self.within(&variant.attrs, |reader| visit::visit_variant(reader, variant));
    }

    fn visit_trait_item_fn(&mut self, item: &'a syn::TraitItemFn) {
        self.within(&item.attrs, |reader| visit::visit_trait_item_fn(reader, item));
    }

    // `#[serde(with = ..)]` and the like name nothing that this could read.
    fn visit_attribute(&mut self, _: &'a syn::Attribute) {}
}
