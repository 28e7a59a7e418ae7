//! The grammar of a `.crate`: which archives are unambiguous, and the walk that refuses all others.
//! What every reader unpacks alike is accepted, nothing else: one gzip member; regular files, directories and GNU long
//! names; sound paths, each once. Cargo before 1.96 has no other protection.

mod paths;

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

use crate::limits::{
    CARGO_UNPACKED_BYTES_MAX, CARGO_UNPACKED_FACTOR, MANIFEST_BYTES_MAX, PATH_BYTES_MAX,
};
use crate::rejection::{invalid, shown};
use crate::{CrateName, Rejection, RejectionKind, Version};
use paths::Paths;

/// How much a tarball may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) unpacked_bytes_max: u64,
    pub(crate) entries_max: u64,
}

impl Bounds {
    /// What the operator set, but never more than cargo would unpack of a tarball of this size.
    pub(crate) fn of(unpacked_bytes_max: u64, entries_max: u64, tarball_bytes: u64) -> Bounds {
        let factor = tarball_bytes.saturating_mul(CARGO_UNPACKED_FACTOR);
        let cargo_bytes_max = CARGO_UNPACKED_BYTES_MAX.max(factor);
        Bounds {
            unpacked_bytes_max: unpacked_bytes_max.min(cargo_bytes_max),
            entries_max,
        }
    }
}

/// Walks the whole tarball and returns the text of its Cargo.toml. Memory stays bounded whatever the archive claims.
pub(crate) fn read_manifest(
    tarball: impl Read,
    name: &CrateName,
    version: &Version,
    bounds: Bounds,
) -> Result<String, Rejection> {
    let unpacked = Bounded {
        inner: GzDecoder::new(BufReader::new(tarball)),
        left: bounds.unpacked_bytes_max,
        exceeded: false,
    };
    let mut archive = tar::Archive::new(unpacked);
    let mut walk = Walk {
        paths: Paths::of(name, version),
        bounds,
        entries: 0,
        long_name: None,
        manifest: None,
    };
    let walked = walk.all(&mut archive);
    let mut unpacked = archive.into_inner();
    let ended = walked.and_then(|()| must_end(&mut unpacked));
    if unpacked.exceeded {
        return Err(Rejection::new(
            RejectionKind::TooLarge,
            format!(
                "the tarball unpacks to more than {} bytes, which is not allowed here; leave out what users do not need (`exclude` in Cargo.toml)",
                bounds.unpacked_bytes_max,
            ),
        ));
    }
    ended?;
    match walk.manifest {
        Some(manifest) => Ok(manifest),
        None => invalid(format!(
            "the tarball has no `{name}-{version}/Cargo.toml`; build it with `cargo package`"
        )),
    }
}

struct Walk {
    paths: Paths,
    bounds: Bounds,
    entries: u64,
    /// From an entry of its own that names the next one.
    long_name: Option<Vec<u8>>,
    manifest: Option<String>,
}

impl Walk {
    fn all<R: Read>(&mut self, archive: &mut tar::Archive<R>) -> Result<(), Rejection> {
        // Raw, so that extensions are judged here instead of being followed.
        for entry in archive.entries().map_err(unreadable)?.raw(true) {
            let mut entry = entry.map_err(unreadable)?;
            self.entries += 1;
            if self.entries > self.bounds.entries_max {
                return Err(Rejection::new(
                    RejectionKind::TooLarge,
                    format!(
                        "the tarball has more than {} entries; leave out what users do not need (`exclude` in Cargo.toml)",
                        self.bounds.entries_max,
                    ),
                ));
            }
            match entry.header().entry_type().as_byte() {
                b'L' => self.name_the_next(&mut entry)?,
                b'0' | 0 => self.file(&mut entry)?,
                b'5' => self.directory(&entry)?,
                other => return refuse_type(other, &entry),
            }
        }
        match self.long_name {
            Some(_) => invalid(
                "the tarball ends with a long name that belongs to no entry; build it with `cargo package`",
            ),
            None => Ok(()),
        }
    }

    fn name_the_next<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<(), Rejection> {
        let mut name = Vec::new();
        let bounded = entry.take(PATH_BYTES_MAX as u64 + 2);
        { bounded }.read_to_end(&mut name).map_err(unreadable)?;
        if name.last() == Some(&0) {
            name.pop();
        }
        // Readers disagree about all of these.
        let odd = self.long_name.is_some()
            || entry.header().as_gnu().is_none()
            || name.is_empty()
            || name.contains(&0);
        if odd {
            return invalid(
                "the tarball has a long name that readers understand in different ways; build it with `cargo package`",
            );
        }
        self.long_name = Some(name);
        Ok(())
    }

    fn file<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<(), Rejection> {
        let path = self.path_of(entry);
        if !self.paths.add_file(&path)? {
            return Ok(());
        }
        let bytes = entry.size();
        if bytes > MANIFEST_BYTES_MAX {
            return Err(Rejection::new(
                RejectionKind::TooLarge,
                format!(
                    "the tarball's Cargo.toml has {bytes} bytes, at most {MANIFEST_BYTES_MAX} are allowed"
                ),
            ));
        }
        let mut text = String::new();
        match entry.read_to_string(&mut text) {
            Ok(_) => self.manifest = Some(text),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return invalid("the tarball's Cargo.toml is not UTF-8");
            }
            Err(error) => return Err(unreadable(error)),
        }
        Ok(())
    }

    fn directory<R: Read>(&mut self, entry: &tar::Entry<'_, R>) -> Result<(), Rejection> {
        let path = self.path_of(entry);
        if entry.size() != 0 {
            return invalid(format!(
                "the tarball has content for the directory `{}`; build it with `cargo package`",
                shown(&String::from_utf8_lossy(&path)),
            ));
        }
        self.paths.add_directory(&path)
    }

    fn path_of<R: Read>(&mut self, entry: &tar::Entry<'_, R>) -> Vec<u8> {
        let short = || entry.header().path_bytes().into_owned();
        self.long_name.take().unwrap_or_else(short)
    }
}

fn refuse_type<R: Read>(kind: u8, entry: &tar::Entry<'_, R>) -> Result<(), Rejection> {
    let what = match kind {
        b'1' => "a hard link",
        b'2' => "a symbolic link",
        b'3' | b'4' => "a device",
        b'6' => "a named pipe",
        b'x' | b'g' => "a PAX extension",
        b'S' => "a sparse file",
        b'K' => "a long link name",
        _ => "an entry of unknown type",
    };
    invalid(format!(
        "the tarball contains {what} (`{}`): only regular files and directories are allowed, because readers disagree about the rest and links can lead out of the package; build it with `cargo package`",
        shown(&String::from_utf8_lossy(&entry.header().path_bytes())),
    ))
}

/// After the archive's end come zeros to the end of the gzip member, whose check sum must fit, and then nothing.
fn must_end<R: BufRead>(unpacked: &mut Bounded<GzDecoder<R>>) -> Result<(), Rejection> {
    let mut buffer = [0; 8192];
    loop {
        let read = unpacked.read(&mut buffer).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        if buffer[..read].iter().any(|byte| *byte != 0) {
            return invalid(
                "the tarball goes on after the end of its archive; build it with `cargo package`",
            );
        }
    }
    let after = unpacked.inner.get_mut().fill_buf().map_err(unreadable)?;
    if after.is_empty() {
        return Ok(());
    }
    invalid("the tarball goes on after its gzip member; build it with `cargo package`")
}

fn unreadable(error: io::Error) -> Rejection {
    Rejection::new(
        RejectionKind::Invalid,
        format!(
            "the tarball is damaged or not a gzipped tar archive ({}); build it with `cargo package`",
            shown(&error.to_string()),
        ),
    )
}

/// Reads up to a number of bytes and remembers that there was more.
struct Bounded<R> {
    inner: R,
    left: u64,
    exceeded: bool,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => {
                self.exceeded = true;
                return Err(io::Error::other("too large"));
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::*;
    use crate::story::{archive, entry, gzip, krate, version};

    fn walk(tarball: &[u8]) -> String {
        let bounds = Bounds::of(100_000, 20, tarball.len() as u64);
        let read = read_manifest(tarball, &krate("foo"), &version("1.0.0"), bounds);
        read.unwrap_or_else(|refused| format!("{:?}: {refused}", refused.kind))
    }

    fn manifest() -> Vec<u8> {
        entry(b'0', "foo-1.0.0/Cargo.toml", b"the manifest")
    }

    /// With these entries beside the manifest.
    fn with(entries: &[Vec<u8>]) -> String {
        let entries = [&[manifest()], entries].concat();
        walk(&gzip(&archive(&entries)))
    }

    fn with_file(path: &str) -> String {
        with(&[entry(b'0', path, b"content")])
    }

    #[test]
    fn files_directories_and_long_names_are_read() {
        let long = format!("foo-1.0.0/{}.rs", "a".repeat(200));
        let entries = [
            entry(b'5', "foo-1.0.0/", b""),
            entry(b'5', "foo-1.0.0/src/", b""),
            entry(b'L', "././@LongLink", format!("{long}\0").as_bytes()),
            entry(b'0', &long, b"content"),
            entry(0, "foo-1.0.0/src/lib.rs", &[b'x'; 2_000]),
        ];
        assert_eq!(with(&entries), "the manifest");
    }

    #[test]
    fn other_entries_are_refused() {
        let of = |kind| with(&[entry(kind, "foo-1.0.0/x", b"")]);
        assert_snapshot!(of(b'2'), @"Invalid: the tarball contains a symbolic link (`foo-1.0.0/x`): only regular files and directories are allowed, because readers disagree about the rest and links can lead out of the package; build it with `cargo package`");
        assert_snapshot!(of(b'1'), @"Invalid: the tarball contains a hard link (`foo-1.0.0/x`): only regular files and directories are allowed, because readers disagree about the rest and links can lead out of the package; build it with `cargo package`");
        assert_snapshot!(of(b'x'), @"Invalid: the tarball contains a PAX extension (`foo-1.0.0/x`): only regular files and directories are allowed, because readers disagree about the rest and links can lead out of the package; build it with `cargo package`");
        assert_snapshot!(of(b'g'), @"Invalid: the tarball contains a PAX extension (`foo-1.0.0/x`): only regular files and directories are allowed, because readers disagree about the rest and links can lead out of the package; build it with `cargo package`");
        assert_snapshot!(of(b'K'), @"Invalid: the tarball contains a long link name (`foo-1.0.0/x`): only regular files and directories are allowed, because readers disagree about the rest and links can lead out of the package; build it with `cargo package`");
        assert_snapshot!(of(b'S'), @"Invalid: the tarball contains a sparse file (`foo-1.0.0/x`): only regular files and directories are allowed, because readers disagree about the rest and links can lead out of the package; build it with `cargo package`");
        assert_snapshot!(of(b'3'), @"Invalid: the tarball contains a device (`foo-1.0.0/x`): only regular files and directories are allowed, because readers disagree about the rest and links can lead out of the package; build it with `cargo package`");
        assert_snapshot!(of(b'6'), @"Invalid: the tarball contains a named pipe (`foo-1.0.0/x`): only regular files and directories are allowed, because readers disagree about the rest and links can lead out of the package; build it with `cargo package`");
        assert_snapshot!(of(b'7'), @"Invalid: the tarball contains an entry of unknown type (`foo-1.0.0/x`): only regular files and directories are allowed, because readers disagree about the rest and links can lead out of the package; build it with `cargo package`");
        assert_snapshot!(with(&[entry(b'5', "foo-1.0.0/x/", b"content")]), @"Invalid: the tarball has content for the directory `foo-1.0.0/x/`; build it with `cargo package`");
    }

    #[test]
    fn long_names_are_unambiguous() {
        let long = entry(b'L', "x", b"foo-1.0.0/long\0");
        let file = entry(b'0', "foo-1.0.0/short", b"");
        assert_snapshot!(with(&[long.clone(), long.clone(), file.clone()]), @"Invalid: the tarball has a long name that readers understand in different ways; build it with `cargo package`");
        assert_snapshot!(with(&[long]), @"Invalid: the tarball ends with a long name that belongs to no entry; build it with `cargo package`");
        assert_snapshot!(with(&[entry(b'L', "x", b"foo-1.0.0/a\0b\0"), file.clone()]), @"Invalid: the tarball has a long name that readers understand in different ways; build it with `cargo package`");
        assert_snapshot!(with(&[entry(b'L', "x", b""), file.clone()]), @"Invalid: the tarball has a long name that readers understand in different ways; build it with `cargo package`");
        let huge = format!("foo-1.0.0/{}", "a".repeat(5_000));
        assert_snapshot!(with(&[entry(b'L', "x", huge.as_bytes()), file]), @"Invalid: the tarball contains the path `foo-1.0.0/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…` of 1026 bytes, at most 1024 are allowed");
    }

    #[test]
    fn paths_stay_below_the_root_and_mean_the_same_everywhere() {
        assert_snapshot!(with_file("foo-1.0.0/../x"), @"Invalid: the tarball contains the path `foo-1.0.0/../x`, which is not allowed: it has the component `.` or `..`, which can lead out of the package; rename the file");
        assert_snapshot!(with_file("/etc/passwd"), @"Invalid: the tarball contains `/etc/passwd`, which is not under `foo-1.0.0/`; build it with `cargo package`");
        assert_snapshot!(with_file("foo-1.0.1/x"), @"Invalid: the tarball contains `foo-1.0.1/x`, which is not under `foo-1.0.0/`; build it with `cargo package`");
        assert_snapshot!(with_file("foo-1.0.0"), @"Invalid: the tarball has a file where its directory `foo-1.0.0` must be; build it with `cargo package`");
        assert_snapshot!(with_file("foo-1.0.0/a//b"), @"Invalid: the tarball contains the path `foo-1.0.0/a//b`, which is not allowed: it has an empty component; rename the file");
        assert_snapshot!(with_file("foo-1.0.0/./b"), @"Invalid: the tarball contains the path `foo-1.0.0/./b`, which is not allowed: it has the component `.` or `..`, which can lead out of the package; rename the file");
        assert_snapshot!(with_file("foo-1.0.0/src/"), @"Invalid: the tarball contains the path `foo-1.0.0/src/`, which is not allowed: it has an empty component; rename the file");
        assert_snapshot!(with_file("foo-1.0.0/a\\b"), @r"Invalid: the tarball contains the path `foo-1.0.0/a\b`, which is not allowed: it has a backslash, which separates paths on Windows; rename the file");
        assert_snapshot!(with_file("foo-1.0.0/c:x"), @"Invalid: the tarball contains the path `foo-1.0.0/c:x`, which is not allowed: it has a colon, which names a drive or a stream on Windows; rename the file");
        assert_snapshot!(with_file("foo-1.0.0/a\nb"), @r"Invalid: the tarball contains the path `foo-1.0.0/a\nb`, which is not allowed: it has a control character; rename the file");
        assert_snapshot!(with_file("foo-1.0.0/src/AUX.rs"), @"Invalid: the tarball contains the path `foo-1.0.0/src/AUX.rs`, which is not allowed: Windows keeps that name for a device; rename the file");
        assert_snapshot!(with_file("foo-1.0.0/a. /b"), @"Invalid: the tarball contains the path `foo-1.0.0/a. /b`, which is not allowed: a component ends with a dot or a space, which Windows ignores; rename the file");
        assert_snapshot!(with_file("foo-1.0.0/.cargo-ok"), @"Invalid: the tarball contains `.cargo-ok`, with which cargo marks what it has unpacked; remove it from the package");
    }

    #[test]
    fn paths_are_utf_8() {
        let mut odd = entry(b'0', "foo-1.0.0/x", b"");
        odd[10] = 0xff;
        odd[148..156].copy_from_slice(b"        ");
        let sum: u32 = odd[..512].iter().map(|byte| u32::from(*byte)).sum();
        odd[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert_snapshot!(with(&[odd]), @"Invalid: the tarball contains the path `foo-1.0.0/�`, which is not UTF-8; rename the file");
    }

    #[test]
    fn every_path_is_there_once_in_any_case() {
        assert_snapshot!(with_file("foo-1.0.0/Cargo.toml"), @"Invalid: the tarball contains `foo-1.0.0/Cargo.toml` twice, or another path that differs from it only in case: it would unpack differently on different systems; rename one");
        assert_snapshot!(with_file("foo-1.0.0/cargo.toml"), @"Invalid: the tarball's manifest is called `cargo.toml`; rename it to `Cargo.toml`");
        let two = |one, other| with(&[entry(b'0', one, b""), entry(b'0', other, b"")]);
        assert_snapshot!(two("foo-1.0.0/src/a.rs", "foo-1.0.0/src/A.rs"), @"Invalid: the tarball contains `foo-1.0.0/src/A.rs` twice, or another path that differs from it only in case: it would unpack differently on different systems; rename one");
        assert_snapshot!(two("foo-1.0.0/src/a.rs", "foo-1.0.0/Src/b.rs"), @"Invalid: the tarball contains `foo-1.0.0/Src/b.rs` twice, or another path that differs from it only in case: it would unpack differently on different systems; rename one");
        assert_snapshot!(two("foo-1.0.0/src", "foo-1.0.0/src/b.rs"), @"Invalid: the tarball contains `foo-1.0.0/src/b.rs` twice, or another path that differs from it only in case: it would unpack differently on different systems; rename one");
        assert_snapshot!(two("foo-1.0.0/src/b.rs", "foo-1.0.0/SRC"), @"Invalid: the tarball contains `foo-1.0.0/SRC` twice, or another path that differs from it only in case: it would unpack differently on different systems; rename one");
        let directory = entry(b'5', "foo-1.0.0/src/", b"");
        assert_snapshot!(with(&[directory.clone(), directory]), @"Invalid: the tarball contains `foo-1.0.0/src` twice, or another path that differs from it only in case: it would unpack differently on different systems; rename one");
    }

    #[test]
    fn nothing_follows_the_archive() {
        let good = archive(&[manifest()]);
        assert_eq!(
            walk(&gzip(&[&good[..], &[0; 4096]].concat())),
            "the manifest"
        );
        assert_snapshot!(walk(&gzip(&[&good[..], b"x"].concat())), @"Invalid: the tarball goes on after the end of its archive; build it with `cargo package`");
        assert_snapshot!(walk(&gzip(&archive(&[good.clone(), manifest()]))), @"Invalid: the tarball goes on after the end of its archive; build it with `cargo package`");
        assert_snapshot!(walk(&[gzip(&good), gzip(b"")].concat()), @"Invalid: the tarball goes on after its gzip member; build it with `cargo package`");
        assert_snapshot!(walk(&[&gzip(&good)[..], b"x"].concat()), @"Invalid: the tarball goes on after its gzip member; build it with `cargo package`");
    }

    #[test]
    fn damage_is_noticed() {
        let good = gzip(&archive(&[manifest()]));
        let mut damaged = good.clone();
        let check_sum = damaged.len() - 8;
        damaged[check_sum] ^= 1;
        assert_snapshot!(walk(&damaged), @"Invalid: the tarball is damaged or not a gzipped tar archive (corrupt gzip stream does not have a matching checksum); build it with `cargo package`");
        assert!(walk(&good[..good.len() - 1]).starts_with("Invalid"));
        assert_snapshot!(walk(b"PK not gzip at all"), @"Invalid: the tarball is damaged or not a gzipped tar archive (invalid gzip header); build it with `cargo package`");
        assert_snapshot!(walk(&gzip(&manifest()[..600])), @"Invalid: the tarball is damaged or not a gzipped tar archive (unexpected EOF during skip); build it with `cargo package`");
    }

    #[test]
    fn everything_is_bounded() {
        assert_snapshot!(with(&[entry(b'0', "foo-1.0.0/big", &[0; 100_000])]), @"TooLarge: the tarball unpacks to more than 100000 bytes, which is not allowed here; leave out what users do not need (`exclude` in Cargo.toml)");
        let many: Vec<_> = (0..20)
            .map(|n| entry(b'0', &format!("foo-1.0.0/{n}"), b""))
            .collect();
        assert_snapshot!(with(&many), @"TooLarge: the tarball has more than 20 entries; leave out what users do not need (`exclude` in Cargo.toml)");
        let manifest = entry(b'0', "foo-1.0.0/Cargo.toml", &[b' '; 2 * 1024 * 1024 + 1]);
        let tarball = gzip(&archive(&[manifest]));
        let bounds = Bounds::of(u64::MAX, 20, tarball.len() as u64);
        let read = read_manifest(&tarball[..], &krate("foo"), &version("1.0.0"), bounds);
        assert_snapshot!(read.unwrap_err(), @"the tarball's Cargo.toml has 2097153 bytes, at most 2097152 are allowed");
    }

    #[test]
    fn an_operator_cannot_allow_more_than_cargo_unpacks() {
        let megabytes = |configured: u64, tarball: u64| {
            Bounds::of(configured << 20, 1, tarball << 20).unpacked_bytes_max >> 20
        };
        assert_eq!(megabytes(100, 1), 100);
        assert_eq!(megabytes(1_000, 1), 512);
        assert_eq!(megabytes(1_000, 40), 800);
    }

    #[test]
    fn a_tarball_has_a_manifest() {
        assert_snapshot!(walk(&gzip(&archive(&[]))), @"Invalid: the tarball has no `foo-1.0.0/Cargo.toml`; build it with `cargo package`");
        let nested = entry(b'0', "foo-1.0.0/examples/Cargo.toml", b"");
        assert_snapshot!(walk(&gzip(&archive(&[nested]))), @"Invalid: the tarball has no `foo-1.0.0/Cargo.toml`; build it with `cargo package`");
        let binary = entry(b'0', "foo-1.0.0/Cargo.toml", b"\xff");
        assert_snapshot!(walk(&gzip(&archive(&[binary]))), @"Invalid: the tarball's Cargo.toml is not UTF-8");
    }

    proptest! {
        #[test]
        fn no_archive_makes_it_panic(at in 0_usize..1_024, byte: u8, kind: u8) {
            let mut bytes = archive(&[entry(kind, "foo-1.0.0/x", b"y"), manifest()]);
            bytes[at] = byte;
            let _ = walk(&gzip(&bytes));
        }
    }
}
