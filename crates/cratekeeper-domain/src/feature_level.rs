//! Feature levels: what a cluster may do only once all of its nodes know how. The level is in the history and only rises, so that
//! releases can be mixed while a cluster is upgraded and one can go back until it has risen.

/// One level and what it allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeatureLevel {
    pub level: u32,
    /// The release that first knew it.
    pub since: &'static str,
    /// What a node of an older release would not understand.
    pub allows: &'static str,
}

/// Every level this release knows, from the first.
pub const FEATURE_LEVELS: [FeatureLevel; 2] = [
    FeatureLevel {
        level: 1,
        since: "0.1.0",
        allows: "what the first release knows",
    },
    FeatureLevel {
        level: 2,
        since: "0.2.0",
        allows: "read replicas in the membership; a history that was restored from a backup",
    },
];

/// Members that never vote; an older leader would make voters of them.
pub const READERS_LEVEL: u32 = 2;

/// Says in the history that it was restored; an older node would not know the event.
pub const RESTORED_LEVEL: u32 = 2;

/// The highest level this release knows: what a cluster founded by it begins with.
pub const NEWEST_LEVEL: u32 = FEATURE_LEVELS[FEATURE_LEVELS.len() - 1].level;

/// What nodes that do not say their release and level are: the first release, which had no way to say it.
pub const FIRST_LEVEL: FeatureLevel = FEATURE_LEVELS[0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_count_up_from_one() {
        let levels: Vec<u32> = FEATURE_LEVELS.iter().map(|known| known.level).collect();
        assert_eq!(levels, (1..=NEWEST_LEVEL).collect::<Vec<_>>());
    }
}
