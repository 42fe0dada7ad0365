//! Logs opened, led astray, moved away and written by many.

use super::*;
use nix::libc;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};

#[track_caller]
fn refused(path: &Path, errno: i32) {
    assert_eq!(open_log(path).unwrap_err().raw_os_error(), Some(errno), "{path:?}");
}

// Proves on ebpf, netns, rootless: K09.
#[test]
fn what_may_be_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let fresh = dir.path().join("log");
    assert_eq!(open_log(&fresh).unwrap().metadata().unwrap().mode() & 0o7777, 0o600);
    open_log(&fresh).unwrap();
    open_log(Path::new("/dev/null")).unwrap();

    let link = dir.path().join("link");
    symlink(&fresh, &link).unwrap();
    refused(&link, libc::ELOOP);
    refused(dir.path(), libc::EISDIR);
    let socket = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    refused(&socket, libc::ENXIO);

    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused(&fifo, libc::ENXIO);
    let _reader = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&fifo)
        .unwrap();
    open_log(&fifo).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn what_root_opens_for_another() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    let real = dir.join("real");
    std::fs::create_dir(&real).unwrap();
    symlink(&real, dir.join("link")).unwrap();
    let refused = |path: &Path| open_log_without_links(path).unwrap_err();
    let fresh = open_log_without_links(&real.join("log")).unwrap();
    assert_eq!(fresh.metadata().unwrap().mode() & 0o7777, 0o600);
    assert_eq!(refused(&dir.join("link/log")).raw_os_error(), Some(libc::ELOOP));
    symlink(real.join("log"), real.join("last")).unwrap();
    assert_eq!(refused(&real.join("last")).raw_os_error(), Some(libc::ELOOP));
    std::fs::hard_link(real.join("log"), real.join("second")).unwrap();
    assert_eq!(refused(&real.join("second")).kind(), io::ErrorKind::InvalidInput);
    open_log_without_links(Path::new("/dev/null")).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_place_stays_where_it_was() {
    for of in [LogLocation::of, LogLocation::without_links] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let (directory, moved) = (dir.join("logs"), dir.join("moved"));
        std::fs::create_dir(&directory).unwrap();
        let place = of(&directory.join("log")).unwrap();
        std::fs::rename(&directory, &moved).unwrap();
        std::fs::create_dir(&directory).unwrap();
        assert_eq!(place.open().unwrap().metadata().unwrap().mode() & 0o7777, 0o600);
        assert!(moved.join("log").exists() && !directory.join("log").exists());
        std::fs::remove_file(moved.join("log")).unwrap();
        symlink(directory.join("log"), moved.join("log")).unwrap();
        assert_eq!(place.open().unwrap_err().raw_os_error(), Some(libc::ELOOP));
    }
}

fn line_file(path: &Path) -> LineFile {
    let path = path.to_owned();
    LineFile::new(LogFile {
        file: open_log(&path).unwrap(),
        reopen: Box::new(move || open_log(&path)),
    })
}

#[test]
fn lines_are_appended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    std::fs::write(&path, "old\n").unwrap();
    line_file(&path).append(b"new\n").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old\nnew\n");
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_that_is_moved_emptied_or_removed_goes_on_at_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
    let mut file = line_file(&path);
    let mut write = |line: &str| {
        file.follow()?;
        file.append(line.as_bytes())
    };
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    write("1\n").unwrap();
    std::fs::rename(&path, &old).unwrap();
    write("2\n").unwrap();
    assert_eq!((text(&old).as_str(), text(&path).as_str()), ("1\n", "2\n"));
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);

    // As `copytruncate` does: no hole is left before the next line.
    std::fs::write(&path, "").unwrap();
    write("3\n").unwrap();
    assert_eq!(text(&path), "3\n");

    std::fs::remove_file(&path).unwrap();
    // A link in its place is not followed, and what is not written is an error until it can be again.
    symlink(&old, &path).unwrap();
    assert_eq!(write("4\n").unwrap_err().raw_os_error(), Some(libc::ELOOP));
    std::fs::remove_file(&path).unwrap();
    write("5\n").unwrap();
    assert_eq!((text(&old).as_str(), text(&path).as_str()), ("1\n", "5\n"));
}

#[test]
fn many_writers_make_whole_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    std::thread::scope(|scope| {
        for name in ["a", "b", "c", "d"] {
            let mut file = line_file(&path);
            scope.spawn(move || {
                let line = name.repeat(3000) + "\n";
                (0..50).for_each(|_| file.append(line.as_bytes()).unwrap());
            });
        }
    });
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 200);
    assert!(
        text.lines()
            .all(|line| line.len() == 3000 && line.bytes().all(|byte| byte == line.as_bytes()[0]))
    );
}

#[test]
fn a_torn_line_costs_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut reader = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&fifo)
        .unwrap();
    let mut file = line_file(&fifo);

    // More than a pipe holds: the first write is short, and there is no reader.
    let long = vec![b'a'; 1 << 20];
    assert_eq!(file.append(&long).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(file.separator(), b"\n");

    let mut piped = vec![0; 1 << 20];
    let count = reader.read(&mut piped).unwrap();
    assert!(piped[..count].iter().all(|byte| *byte == b'a'));
    let next = [file.separator(), b"whole\n"].concat();
    file.append(&next).unwrap();
    assert_eq!(file.separator(), b"");
    let mut tail = Vec::new();
    drop(file);
    reader.read_to_end(&mut tail).unwrap();
    assert!(tail.ends_with(b"a\nwhole\n") || tail == b"\nwhole\n");
}
