use std::ffi::OsString;

use super::*;

#[test]
fn our_authority_is_taken_out_wherever_it_stands() {
    let check = |content: &str, expected: &str| {
        let left = without(content.as_bytes().to_vec(), b"OURS\n");
        assert_eq!(String::from_utf8_lossy(&left), expected, "{content:?}");
    };
    check("OURS\none\ntwo\n", "one\ntwo\n");
    check("one\nOURS", "one\n");
    check("one\nOURS\ntwo\nOURS\n", "one\ntwo\n");
    check("one\n", "one\n");
}

#[test]
fn a_bundle_that_lacks_our_authority_gets_it_once() {
    let directory = tempfile::tempdir().unwrap();
    let bundle = directory.path().join("bundle");
    fs::write(&bundle, "one").unwrap();
    for _ in 0..2 {
        add(&bundle, b"OURS\n").unwrap();
        assert_eq!(fs::read_to_string(&bundle).unwrap(), "one\nOURS\n");
    }
}

#[test]
fn what_was_done_to_the_copy_is_done_to_the_folder() {
    let [outside, inside] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let write = |name: &str, content: &str| fs::write(outside.path().join(name), content).unwrap();
    fs::create_dir(outside.path().join("old")).unwrap();
    for name in ["stays", "goes", "bundle", "store", "old/file"] {
        write(name, name);
    }
    symlink("stays", outside.path().join("link")).unwrap();
    copy_below(outside.path(), &list(outside.path()).unwrap(), inside.path()).unwrap();
    let copied = |name: &str| inside.path().join(name);
    fs::write(copied("bundle"), "OURS\nold").unwrap();
    let generated = Generated {
        directory: "/folder".into(),
        outside: hold(outside.path()).unwrap(),
        inside: hold(inside.path()).unwrap(),
        authority: b"OURS\n".into(),
        bundles: vec!["bundle".into()],
        others: vec!["store".into()],
        before: list(inside.path()).unwrap(),
        changes: watch(inside.path(), &list(inside.path()).unwrap()),
        changed: Cell::new(false),
    };
    assert_eq!(generated.carry_back(), Vec::<String>::new());
    assert_eq!(fs::read_to_string(outside.path().join("bundle")).unwrap(), "bundle");

    fs::remove_file(copied("goes")).unwrap();
    fs::remove_dir_all(copied("old")).unwrap();
    fs::create_dir(copied("new")).unwrap();
    fs::write(copied("new/file"), "new").unwrap();
    fs::write(copied("bundle.new"), "new").unwrap();
    fs::rename(copied("bundle.new"), copied("bundle")).unwrap();
    fs::write(copied("store"), "with what is ours").unwrap();
    fs::remove_file(copied("link")).unwrap();
    symlink("bundle", copied("link")).unwrap();
    generated.complete();
    assert_eq!(fs::read_to_string(copied("bundle")).unwrap(), "new\nOURS\n");
    assert_eq!(generated.carry_back(), Vec::<String>::new());

    let names: Vec<OsString> = list(outside.path()).unwrap().into_keys().collect();
    let expected = ["bundle", "link", "new", "new/file", "stays", "store"].map(OsString::from);
    assert_eq!(names, expected);
    let content = |name: &str| fs::read_to_string(outside.path().join(name)).unwrap();
    assert_eq!(content("bundle"), "new\n");
    assert_eq!(content("new/file"), "new");
    assert_eq!(content("store"), "store");
    assert_eq!(fs::read_link(outside.path().join("link")).unwrap(), Path::new("bundle"));
}
