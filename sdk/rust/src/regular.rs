//! Opens the files that workflows name for reading; others may have written them. The invariant: opening never waits
//! for a writer, and the content is kept on a disk. That excludes pipes, devices, and what the kernel shows of
//! processes, such as their environment. `providers` has a copy: the one crate below both that may do I/O, `tls`, is
//! only about certificates.

use std::fs::{self, File, FileType};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Opens a regular file.
///
/// # Errors
/// As opening does; also if the path is not a regular file, with what it is.
pub fn open(path: &Path) -> io::Result<File> {
    // Merely opening a device may have an effect.
    check(fs::metadata(path)?.file_type())?;
    let file = File::options().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    // The path may have named another file before.
    check(file.metadata()?.file_type())?;
    if shows_the_kernel(&file)? {
        return Err(refused("it is not a file but a view into the running system, as in `/proc` and `/sys`"));
    }
    Ok(file)
}

fn check(kind: FileType) -> io::Result<()> {
    let what = match kind {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(refused(&format!("it is {what}, no regular file")))
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

#[cfg(target_os = "linux")]
fn shows_the_kernel(file: &File) -> io::Result<bool> {
    // PROC_SUPER_MAGIC and SYSFS_MAGIC of `linux/magic.h`.
    let kind = rustix::fs::fstatfs(file)?.f_type;
    Ok([0x9fa0, 0x6265_6572].contains(&kind))
}

#[cfg(not(target_os = "linux"))]
fn shows_the_kernel(_file: &File) -> io::Result<bool> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_opened_and_opening_never_blocks() {
        let folder = tempfile::tempdir().expect("a folder");
        let (pipe, file, link) = (folder.path().join("pipe"), folder.path().join("file"), folder.path().join("link"));
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.is_ok_and(|made| made.success()), "a pipe");
        fs::write(&file, "text").expect("written");
        std::os::unix::fs::symlink(&file, &link).expect("linked");
        open(&file).expect("a file");
        open(&link).expect("a link to one");
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
        for (path, said) in [
            (pipe.as_path(), "it is a pipe, no regular file"),
            (folder.path(), "it is a folder, no regular file"),
            (&socket, "it is a socket, no regular file"),
            (Path::new("/dev/zero"), "it is a device, no regular file"),
        ] {
            assert_eq!(open(path).expect_err("refused").to_string(), said);
        }
        #[cfg(target_os = "linux")]
        for path in ["/proc/self/environ", "/proc/version", "/sys/kernel/notes"] {
            if Path::new(path).exists() {
                let error = open(Path::new(path)).expect_err(path);
                assert!(error.to_string().contains("a view into the running system"), "{path}: {error}");
            }
        }
    }
}
