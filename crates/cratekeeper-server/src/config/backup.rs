//! Judges what the configuration says about backups: where they go, how often, and what a new cluster begins with.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::file::ConfigFile;
use super::settings::{RestoreSettings, TarballSettings};
use super::validate::secret;
use crate::backup::{BackupSettings, PlaceSettings, S3Access, Until, place};

const EVERY_MIN: Duration = Duration::from_secs(1);
const EVERY_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

pub(super) fn backup(
    config: &ConfigFile,
    tarballs: &TarballSettings,
) -> anyhow::Result<Option<BackupSettings>> {
    let every = every(&config.backup.every)?;
    let Some(to) = &config.backup.to else {
        return Ok(None);
    };
    let to = at("backup.to", to, config, tarballs)?;
    Ok(Some(BackupSettings { to, every }))
}

pub(super) fn restore(
    config: &ConfigFile,
    tarballs: &TarballSettings,
) -> anyhow::Result<Option<RestoreSettings>> {
    let (from, until) = (&config.cluster.restore_from, &config.cluster.restore_until);
    let Some(from) = from else {
        ensure!(
            until.is_none(),
            "cluster.restore_until is set without cluster.restore_from; name the backup too"
        );
        return Ok(None);
    };
    Ok(Some(RestoreSettings {
        from: at("cluster.restore_from", from, config, tarballs)?,
        until: until.as_deref().map_or(Ok(Until::End), parse_until)?,
    }))
}

/// Both keys name the same kind of place, reached in the same way.
fn at(
    key: &str,
    text: &str,
    config: &ConfigFile,
    tarballs: &TarballSettings,
) -> anyhow::Result<PlaceSettings> {
    let place = place(text, access(config, tarballs)?).with_context(|| key.to_owned())?;
    if let PlaceSettings::Directory(directory) = &place {
        ensure!(
            directory.is_absolute(),
            "{key} is `{text}`; write an absolute path, or `s3://bucket/prefix`"
        );
    }
    Ok(place)
}

fn access(config: &ConfigFile, tarballs: &TarballSettings) -> anyhow::Result<S3Access> {
    let backup = &config.backup;
    let like = match tarballs {
        TarballSettings::S3(options) => S3Access::like(options),
        TarballSettings::Disk(_) => S3Access::default(),
    };
    let key = secret(
        "backup.secret_access_key",
        backup.secret_access_key.as_ref(),
        backup.secret_access_key_file.as_deref(),
    )?;
    let credentials = match (&backup.access_key_id, key) {
        (Some(id), Some(key)) => Some((id.clone(), key)),
        (None, None) => like.credentials,
        _ => bail!(
            "backup.access_key_id and backup.secret_access_key go together; set both, or neither to use those of tarballs"
        ),
    };
    Ok(S3Access {
        endpoint: backup.endpoint.clone().or(like.endpoint),
        region: backup.region.clone().or(like.region),
        path_style: backup.path_style.unwrap_or(like.path_style),
        credentials,
    })
}

fn every(text: &str) -> anyhow::Result<Duration> {
    let wrong = || {
        format!("backup.every is `{text}`; write a number and a unit from 1s to 366d, such as `1h`")
    };
    let seconds = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 60 * 60,
        Some('d') => 24 * 60 * 60,
        _ => bail!(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().ok().with_context(wrong)?;
    let every = Duration::from_secs(number.saturating_mul(seconds));
    ensure!((EVERY_MIN..=EVERY_MAX).contains(&every), wrong());
    Ok(every)
}

fn parse_until(text: &str) -> anyhow::Result<Until> {
    if let Ok(sequence) = text.parse() {
        return Ok(Until::Sequence(sequence));
    }
    let time = OffsetDateTime::parse(text, &Rfc3339);
    time.map(Until::Time).ok().with_context(|| {
        format!(
            "cluster.restore_until is `{text}`; write the sequence of an event, or a time such as `2027-01-31T00:00:00Z`"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_often_is_a_number_and_a_unit() {
        let read = |text| match every(text) {
            Ok(every) => format!("{} s", every.as_secs()),
            Err(error) => error.to_string(),
        };
        let all = ["90s", "1m", "6h", "2d", "0s", "400d", "1", "h", ""];
        insta::assert_snapshot!(all.map(read).join("\n"), @r"
        90 s
        60 s
        21600 s
        172800 s
        backup.every is `0s`; write a number and a unit from 1s to 366d, such as `1h`
        backup.every is `400d`; write a number and a unit from 1s to 366d, such as `1h`
        backup.every is `1`; write a number and a unit from 1s to 366d, such as `1h`
        backup.every is `h`; write a number and a unit from 1s to 366d, such as `1h`
        backup.every is ``; write a number and a unit from 1s to 366d, such as `1h`
        ");
    }

    #[test]
    fn a_restore_ends_at_an_event_or_a_time() {
        assert_eq!(parse_until("17").expect("a sequence"), Until::Sequence(17));
        let time = parse_until("2027-01-31T00:00:00Z").expect("a time");
        assert!(matches!(time, Until::Time(_)));
        assert!(parse_until("yesterday").is_err());
    }
}
