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
        "the tarball contains {what} (`{}`): only regular files and directories are allowed, because a link can be made to write outside of the package; build it with `cargo package`",
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
