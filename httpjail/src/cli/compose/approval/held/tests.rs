use std::fs::Permissions;

use nix::unistd::geteuid;
use tempfile::TempDir;

use super::*;

/// A folder that another user could write to, with a program in it.
struct World(TempDir);

/// Whoever is neither root nor runs this.
const OTHER: u32 = 4321;

impl World {
    fn new() -> World {
        let world = World(TempDir::new().expect("a folder"));
        world.mode("", 0o777);
        world.program("decide", "#!/bin/sh\n");
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.0.path()).expect("its path").join(name)
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).expect("its mode");
    }

    fn program(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
        self.mode(name, 0o755);
    }

    fn prepare(&self, line: &str) -> Result<Prepared, Failure> {
        let holding = Holding::Jail(SafeFrom::User(OTHER));
        prepare_at(line, holding, &self.path(""), vec!["/usr/bin".into(), self.path("")])
    }

    #[track_caller]
    fn check(&self, line: &str, expected: &str, held: &[&str]) {
        let found = self.prepare(line).expect(line);
        let here = self.path("").display().to_string();
        assert_eq!(found.line, expected.replace("HERE/", &here), "{line}");
        let held: Vec<PathBuf> = held.iter().map(|name| self.path(name)).collect();
        assert_eq!(found.held, held, "{line}");
    }

    #[track_caller]
    fn refuses(&self, line: &str, why: &str) {
        let failure = self.prepare(line).expect_err(line);
        assert!(failure.message.contains(why), "{}", failure.message);
        assert_eq!(failure.status, USAGE);
    }
}

// Proves: P28.
#[test]
fn what_the_line_names_is_held() {
    let world = World::new();
    world.check("./decide --all", "'HERE/decide' --all", &["decide"]);
    world.check("decide", "'HERE/decide'", &["decide"]);
    world.check(
        "sh ./decide; echo ./new",
        "sh 'HERE/decide'; echo 'HERE/./new'",
        &["decide"],
    );
    let absolute = world.path("decide").display().to_string();
    world.check(&absolute, &absolute, &["decide"]);
    // A link in such a folder could be another one tomorrow.
    std::os::unix::fs::symlink("decide", world.path("link")).expect("a link");
    world.check("./link", "'HERE/decide'", &["decide"]);
    std::os::unix::fs::symlink("/bin/sh", world.path("shell")).expect("a link");
    let shell = fs::canonicalize("/bin/sh").expect("its path").display().to_string();
    world.check("./shell ./decide", &format!("'{shell}' 'HERE/decide'"), &["decide"]);
    // Root's own, and the shell's.
    for line in ["cat >/dev/null; echo ok", "/bin/sh -c true", "[ -e x ] && : || nothing"] {
        world.check(line, line, &[]);
    }
}

// Proves: P28.
#[test]
fn what_runs_it_is_held_too() {
    let world = World::new();
    let here = world.path("run").display().to_string();
    world.program("run", "#!/bin/sh\n");
    world.program("script", &format!("#!{here} -x\n"));
    world.check("./script", "'HERE/script'", &["script", "run"]);
    world.program("script", "#!/usr/bin/env sh\n");
    world.check("./script", "'HERE/script'", &["script"]);
    // The present folder is in PATH, but what is in it is not run under that name.
    world.program("script", "#!/usr/bin/env run\n");
    world.refuses("./script", "is run by run, which is in no folder of root's");
    std::os::unix::fs::symlink("run", world.path("link")).expect("a link");
    world.program("script", &format!("#!{}\n", world.path("link").display()));
    world.refuses("./script", "have that name lead elsewhere");
}

// Proves: P28.
#[test]
fn what_cannot_be_held_is_refused() {
    let world = World::new();
    world.refuses("./nothing", "is not there");
    fs::hard_link(world.path("decide"), world.path("other")).expect("a second name");
    world.refuses("./decide", "has a second name");
    // Where nothing can be held it is told of.
    let holding = Holding::Nothing(SafeFrom::User(OTHER));
    let found = prepare_at("./decide", holding, &world.path(""), Vec::new()).expect("a program");
    assert_eq!(found.held, [world.path("decide")]);
}

// Proves: P28.
#[test]
fn programs_are_found_in_folders_of_roots() {
    let world = World::new();
    let path = world.prepare("true").expect("a line").path;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    assert_eq!(folders.first(), Some(&PathBuf::from("/usr/bin")));
    assert!(!folders.contains(&world.path("")), "{folders:?}");
    if geteuid().is_root() {
        // Root's own folder is one of root's.
        world.mode("", 0o755);
        let (own, here) = (world.path("own"), world.path(""));
        fs::create_dir(&own).expect("a folder");
        world.program("own/decide", "");
        let prepare = |line| {
            let holding = Holding::Jail(SafeFrom::User(OTHER));
            prepare_at(line, holding, &here, vec![own.clone()]).expect("a line")
        };
        let found = prepare("decide; ./own/decide");
        assert!(std::env::split_paths(&found.path).any(|folder| folder == own));
        assert_eq!(
            found.line,
            format!(
                "decide; '{}/./own/decide'",
                here.display().to_string().trim_end_matches('/')
            )
        );
        assert_eq!(found.held, [""; 0].map(PathBuf::from));
    }
}

#[test]
fn what_is_not_said_to_be_here_is_told_of() {
    let world = World::new();
    fs::write(world.path("d.py"), "").expect("a file");
    let found = world.prepare("python3 d.py").expect("a line");
    assert_eq!(found.line, "python3 d.py");
    assert_eq!(found.warnings.len(), 1, "{found:?}");
    assert!(world.prepare("sh ./d.py").expect("a line").warnings.is_empty());
}
