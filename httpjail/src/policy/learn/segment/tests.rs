use super::*;
use crate::policy::Pattern;

#[track_caller]
fn check(segment: &str, pattern: &str) {
    assert_eq!(general(segment), pattern, "{segment}");
    assert!(
        Pattern::new(&format!("^{pattern}$"))
            .expect("a pattern")
            .matches(segment)
            == Some(true),
        "{segment}"
    );
}

#[test]
fn names_stay() {
    for name in [
        "v1", "users", "x86_64", "api-2", "left-pad", "facade", "deadbeef", "log4j", "s3", "Q3", "2fa", "",
    ] {
        assert_eq!(general(name), name);
    }
    check("a.b(c)", r"a\.b\(c\)");
    check("@babel%2Fcore", "@babel%2Fcore");
    check("manylinux_2_17_x86_64.whl", r"manylinux_2_17_x86_64\.whl");
}

#[test]
fn what_varies_is_general() {
    check("42", "[0-9]+");
    check("20240102", "[0-9]+");
    check("550e8400-e29b-41d4-a716-446655440000", "[0-9A-Fa-f-]{36}");
    check("report-2024-01-02.csv", r"report-[0-9]{4}-[0-9]{2}-[0-9]{2}\.csv");
    check("left-pad-1.3.0.tgz", r"left-pad-[0-9][^/?]*\.tgz");
    check("left-pad-1.3.0-beta.2.tgz", r"left-pad-[0-9][^/?]*\.tgz");
    check("numpy-1.26.4-cp311-abi3.whl", r"numpy-[0-9][^/?]*-cp311-abi3\.whl");
    check("v1.2.3", "v[0-9][^/?]*");
    check("node-v20.1.0.tar.gz", r"node-v[0-9][^/?]*\.tar\.gz");
    check("1.0", "[0-9][^/?]*");
    check("sha256:0123456789abcdef0123", "sha256:[0-9A-Fa-f]+");
    check("a1b2c3d", "[0-9A-Fa-f]+");
    check("main.a1b2c3d4.js", r"main\.[0-9A-Fa-f]+\.js");
    check("V1StGXR8_Z5jdHi6B-myT", "[0-9A-Za-z_-]+");
    check("user-12345", "user-[0-9]+");
}

#[test]
fn any_of_many_names() {
    let any = |names: &[&str]| any_of(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>().iter());
    assert_eq!(any(&["a", "b"]), "[^/?]+");
    assert_eq!(any(&[r"a\.tgz", r"b\.tgz"]), r"[^/?]+\.tgz");
    assert_eq!(any(&[r"a\.tgz", r"b\.zip"]), "[^/?]+");
    assert_eq!(any(&[r"a[0-9]+", r"b\.zip"]), "[^/?]+");
}
