//! Developer tasks.

mod ebpf;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    anyhow::ensure!(has("ebpf"), "usage: cargo xtask ebpf [--check | --trace]");
    if has("--allow-all") {
        println!("{}", ebpf::allow_all()?.display());
        return Ok(());
    }
    ebpf::run(has("--check"), has("--trace"))
}
