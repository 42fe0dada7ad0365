//! `cargo xtask tidy --figures`: the size of the house, as a table.

use super::circles::Graph;
use super::source::Source;

/// Prints it.
pub(super) fn print(sources: &[Source], graph: &Graph) {
    let code: Vec<&Source> = sources.iter().filter(|source| !source.test).collect();
    let mut lines: Vec<usize> = code.iter().map(|source| source.lines).collect();
    lines.sort_unstable();
    let mut functions: Vec<(usize, &str, &str)> = code
        .iter()
        .flat_map(|source| {
            source
                .functions
                .iter()
                .map(|(name, lines)| (*lines, name.as_str(), source.file.as_str()))
        })
        .collect();
    functions.sort_unstable();
    let sum = |count: fn(&Source) -> usize| code.iter().map(|source| count(source)).sum::<usize>();
    let circles = graph.circles();
    println!(
        "circles of imports          {} ({} files)",
        circles.len(),
        circles.iter().map(Vec::len).sum::<usize>()
    );
    println!(
        "files without tests         {}, {} lines",
        lines.len(),
        lines.iter().sum::<usize>()
    );
    println!(
        "lines of a file             median {}, p90 {}, longest {}",
        at(&lines, 50),
        at(&lines, 90),
        at(&lines, 100)
    );
    let lengths: Vec<usize> = functions.iter().map(|(lines, ..)| *lines).collect();
    println!(
        "lines of a function         median {}, p90 {}, longest {}",
        at(&lengths, 50),
        at(&lengths, 90),
        at(&lengths, 100)
    );
    for (lines, name, file) in functions.iter().rev().take(5) {
        println!("  {lines:>4} {name} in {file}");
    }
    println!("items that are pub          {}", sum(|source| source.public));
    println!("docs of under four words    {}", sum(|source| source.short_docs));
}

/// The value below which so many percent of them are.
fn at(sorted: &[usize], percent: usize) -> usize {
    sorted
        .get((sorted.len().saturating_sub(1)) * percent / 100)
        .copied()
        .unwrap_or(0)
}
