pub(crate) fn run(_: &super::install::Tools) -> anyhow::Result<super::table::Table> {
    anyhow::bail!("not yet")
}
