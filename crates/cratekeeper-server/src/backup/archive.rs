//! A backup that is there: its manifest, and its segments as they are read and proven.

use anyhow::{Context, bail};
use bytes::Bytes;
use cratekeeper_tarballs::{Shelf, Stamp};
use cratekeeper_wire::backup::{BrokenBackup, MANIFEST, Manifest, SegmentEntry, open_segment};

/// The manifest as it was read, and of which content it was.
pub(crate) struct Archive {
    pub(crate) shelf: Shelf,
    pub(crate) manifest: Manifest,
    pub(crate) stamp: Stamp,
}

impl Archive {
    /// Nothing if there is no backup at this place.
    pub(crate) async fn find(shelf: &Shelf) -> anyhow::Result<Option<Archive>> {
        let object = shelf.get(MANIFEST).await.context("look for the backup")?;
        let Some(object) = object else {
            return Ok(None);
        };
        Ok(Some(Archive {
            manifest: Manifest::decode(&object.bytes)?,
            shelf: shelf.clone(),
            stamp: object.stamp,
        }))
    }

    pub(crate) async fn open(shelf: &Shelf) -> anyhow::Result<Archive> {
        match Archive::find(shelf).await? {
            Some(archive) => Ok(archive),
            None => bail!(
                "there is no backup at {}: {MANIFEST} is missing",
                shelf.describe()
            ),
        }
    }

    /// The records of a segment, proven to be those that the manifest promises.
    pub(crate) async fn records(&self, segment: &SegmentEntry) -> anyhow::Result<Vec<Bytes>> {
        let object = self.shelf.get(&segment.file).await;
        let object = object.with_context(|| format!("read {}", segment.file))?;
        let Some(object) = object else {
            let broken = BrokenBackup {
                sequence: segment.first,
                what: format!("{} is missing", segment.file),
            };
            return Err(broken.into());
        };
        let segment = segment.clone();
        let opened = tokio::task::spawn_blocking(move || open_segment(&segment, &object.bytes));
        Ok(opened.await.context("open a segment")??)
    }
}
