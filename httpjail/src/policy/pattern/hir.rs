//! Analyzes a pattern without running it: what a URL must begin with, what it must contain, and whether that alone decides.
//!
//! All bytes of a canonical URL are ASCII and none is a line break, so a pattern is first cut down to what can match
//! there. Everything found here is a necessary condition; only [`UrlTest::Literals`] is also sufficient.

use regex_syntax::hir::literal::Extractor;
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Dot, Hir, HirKind, Look, Repetition};

use super::url_test::{Needs, Search, UrlTest, Where};

/// More literals than this are not kept: an automaton tries them at once.
const LITERALS_MAX: usize = 8;
/// More beginnings than this say little.
const STARTS_MAX: usize = 32;
/// More alternatives than this say little.
const NEEDS_MAX: usize = 16;

/// The pattern as far as it can match in ASCII without line breaks; the same verdicts from a smaller automaton.
pub(super) fn in_urls(hir: Hir) -> Hir {
    match hir.into_kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) if literal.0.is_ascii() => Hir::literal(literal.0),
        HirKind::Literal(_) => Hir::fail(),
        HirKind::Class(class) => Hir::class(Class::Unicode(ascii_part(&class))),
        HirKind::Look(look) => Hir::look(match look {
            Look::StartLF | Look::StartCRLF => Look::Start,
            Look::EndLF | Look::EndCRLF => Look::End,
            Look::WordUnicode => Look::WordAscii,
            Look::WordUnicodeNegate => Look::WordAsciiNegate,
            Look::WordStartUnicode => Look::WordStartAscii,
            Look::WordEndUnicode => Look::WordEndAscii,
            Look::WordStartHalfUnicode => Look::WordStartHalfAscii,
            Look::WordEndHalfUnicode => Look::WordEndHalfAscii,
            other => other,
        }),
        HirKind::Repetition(repetition) => Hir::repetition(Repetition {
            sub: Box::new(in_urls(*repetition.sub)),
            ..repetition
        }),
        HirKind::Capture(capture) => in_urls(*capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.into_iter().map(in_urls).collect()),
        HirKind::Alternation(ways) => Hir::alternation(ways.into_iter().map(in_urls).collect()),
    }
}

fn ascii_part(class: &Class) -> ClassUnicode {
    let ranges: Vec<(u32, u32)> = match class {
        Class::Unicode(class) => class.iter().map(|r| (r.start().into(), r.end().into())).collect(),
        Class::Bytes(class) => class.iter().map(|r| (r.start().into(), r.end().into())).collect(),
    };
    let ascii = ranges
        .into_iter()
        .filter(|(start, _)| *start < 0x80)
        .filter_map(|(start, end)| {
            let last = end.min(0x7f);
            Some(ClassUnicodeRange::new(char::from_u32(start)?, char::from_u32(last)?))
        });
    ClassUnicode::new(ascii)
}

/// No fewer states than the automaton of `hir` has.
pub(super) fn states(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Class(class) => 2 + ascii_part(class).ranges().len() / 8,
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min.saturating_add(1)).max(1);
            states(&repetition.sub)
                .saturating_add(2)
                .saturating_mul(usize::try_from(times).unwrap_or(usize::MAX))
        }
        HirKind::Capture(capture) => states(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts
            .iter()
            .fold(2, |sum: usize, part| sum.saturating_add(states(part)).saturating_add(1)),
    }
}

/// How to test a pattern that [`in_urls`] has cut down.
pub(super) fn test(hir: &Hir) -> UrlTest {
    let whole = Shape::of(hir);
    if whole.parts.is_empty() {
        // A URL is never empty.
        return if whole.begins && whole.ends {
            UrlTest::Nothing
        } else {
            UrlTest::Every
        };
    }
    let rest = Hir::concat(whole.parts.to_vec());
    let prefixes = Extractor::new().extract(&rest);
    let decided = rest.properties().look_set().is_empty() && prefixes.is_exact();
    if let Some(literals) = prefixes.literals().filter(|_| prefixes.is_finite()) {
        let texts: Option<Box<[Box<str>]>> = literals
            .iter()
            .map(|literal| std::str::from_utf8(literal.as_bytes()).ok().map(Box::from))
            .collect();
        match texts {
            Some(texts) if texts.is_empty() => return UrlTest::Nothing,
            Some(texts) if decided && texts.len() <= LITERALS_MAX && !texts.iter().any(|text| text.is_empty()) => {
                let place = match (whole.begins, whole.ends) {
                    (true, true) => Where::Whole,
                    (true, false) => Where::Start,
                    (false, true) => Where::End,
                    (false, false) => Where::Within,
                };
                return UrlTest::literals(place, texts);
            }
            Some(texts) if whole.begins && texts.len() <= STARTS_MAX => {
                return UrlTest::Search(Box::new(Search::new(texts, needs(whole.parts))));
            }
            _ => (),
        }
    }
    UrlTest::Search(Box::new(Search::new(Box::default(), needs(whole.parts))))
}

/// A pattern without its anchors and without what can match anything at its ends.
struct Shape<'h> {
    begins: bool,
    ends: bool,
    parts: &'h [Hir],
}

impl<'h> Shape<'h> {
    fn of(hir: &'h Hir) -> Shape<'h> {
        let mut parts = match hir.kind() {
            HirKind::Concat(parts) => parts.as_slice(),
            HirKind::Empty => &[],
            _ => std::slice::from_ref(hir),
        };
        let (mut begins, mut ends) = (false, false);
        while let [first, rest @ ..] = parts {
            match first.kind() {
                HirKind::Look(Look::Start) => begins = true,
                _ if is_anything(first) => begins = false,
                _ if !begins && can_be_left_out(first) => (),
                _ => break,
            }
            parts = rest;
            // `.*^`: the start again, after something.
            if !begins && matches!(parts, [next, ..] if next.kind() == &HirKind::Look(Look::Start)) {
                break;
            }
        }
        while let [rest @ .., last] = parts {
            match last.kind() {
                HirKind::Look(Look::End) => ends = true,
                _ if is_anything(last) => ends = false,
                _ if !ends && can_be_left_out(last) => (),
                _ => break,
            }
            parts = rest;
            if !ends && matches!(parts, [.., next] if next.kind() == &HirKind::Look(Look::End)) {
                break;
            }
        }
        Shape { begins, ends, parts }
    }
}

/// `.*`, in any of its spellings.
fn is_anything(hir: &Hir) -> bool {
    let HirKind::Repetition(repetition) = hir.kind() else {
        return false;
    };
    let HirKind::Class(class) = repetition.sub.kind() else {
        return false;
    };
    let HirKind::Class(any) = in_urls(Hir::dot(Dot::AnyCharExceptCRLF)).into_kind() else {
        return false;
    };
    let (class, any) = (ascii_part(class), ascii_part(&any));
    let mut both = class.clone();
    both.intersect(&any);
    repetition.min == 0 && repetition.max.is_none() && both == any
}

/// What may as well match nothing.
fn can_be_left_out(hir: &Hir) -> bool {
    matches!(hir.kind(), HirKind::Repetition(repetition) if repetition.min == 0)
}

/// Texts of which every match contains one; the most telling that are found.
fn needs(parts: &[Hir]) -> Needs {
    let mut best = Needs::default();
    let mut run = Run::default();
    for part in parts {
        if run.extend(part) {
            continue;
        }
        best = best.better(std::mem::take(&mut run).needs());
        best = best.better(inner(part));
    }
    best.better(run.needs())
}

fn inner(part: &Hir) -> Needs {
    match part.kind() {
        HirKind::Repetition(repetition) if repetition.min > 0 => needs(std::slice::from_ref(&*repetition.sub)),
        HirKind::Capture(capture) => needs(std::slice::from_ref(&*capture.sub)),
        HirKind::Concat(parts) => needs(parts),
        HirKind::Alternation(ways) if ways.len() <= NEEDS_MAX => {
            let mut all = Needs::default();
            for way in ways {
                let one = needs(match way.kind() {
                    HirKind::Concat(parts) => parts,
                    _ => std::slice::from_ref(way),
                });
                if one.texts.is_empty() || all.texts.len() + one.texts.len() > NEEDS_MAX {
                    return Needs::default();
                }
                all.folded |= one.folded;
                all.texts.extend(one.texts);
            }
            if all.folded {
                all.texts.iter_mut().for_each(|text| text.make_ascii_lowercase());
            }
            all
        }
        _ => Needs::default(),
    }
}

/// Characters that stand side by side in every match.
#[derive(Default)]
struct Run {
    text: String,
    folded: bool,
}

impl Run {
    /// Takes one more part; `false` if it is no text.
    fn extend(&mut self, part: &Hir) -> bool {
        match part.kind() {
            HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
                Ok(text) => self.text.push_str(text),
                Err(_) => return false,
            },
            HirKind::Class(class) => {
                let mut members = ascii_part(class)
                    .iter()
                    .flat_map(|range| range.start()..=range.end())
                    .collect::<Vec<char>>()
                    .into_iter();
                match (members.next(), members.next(), members.next()) {
                    (Some(only), None, None) => self.text.push(only),
                    (Some(upper), Some(lower), None) if upper.to_ascii_lowercase() == lower => {
                        self.folded = true;
                        self.text.push(lower);
                    }
                    _ => return false,
                }
            }
            _ => return false,
        }
        true
    }

    fn needs(mut self) -> Needs {
        if self.text.is_empty() {
            return Needs::default();
        }
        if self.folded {
            self.text.make_ascii_lowercase();
        }
        Needs {
            folded: self.folded,
            texts: vec![self.text],
        }
    }
}
