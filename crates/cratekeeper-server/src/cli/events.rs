//! `cratekeeper events …`: the history, as far as it goes and as it grows.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::Output;
use super::api::Api;
use super::print::{cell, line, note, rows};

/// What `tail` shows without being told where to begin.
const TAIL: u64 = 20;
const PAGE: usize = 500;
const PAUSE_BEFORE_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Subcommand)]
pub(super) enum EventsCommand {
    /// Show events in order, one a line.
    Tail(TailArguments),
}

#[derive(Debug, Args)]
pub(super) struct TailArguments {
    /// Begin behind this sequence; 0 is the beginning. Default: the last 20.
    #[arg(long, value_name = "SEQUENCE")]
    after: Option<u64>,
    /// Stay, and show what happens.
    #[arg(long, short)]
    follow: bool,
}

pub(super) async fn run(command: EventsCommand, api: &Api) -> anyhow::Result<()> {
    let EventsCommand::Tail(TailArguments { after, follow }) = command;
    let mut after = match after {
        Some(after) => after,
        None => last_sequence(api).await?.saturating_sub(TAIL),
    };
    show_until_now(api, &mut after).await?;
    if follow {
        follow_from(api, after).await?;
    }
    Ok(())
}

async fn last_sequence(api: &Api) -> anyhow::Result<u64> {
    Ok(api.get(&["cluster"]).await?["sequence"]
        .as_u64()
        .unwrap_or(0))
}

async fn show_until_now(api: &Api, after: &mut u64) -> anyhow::Result<()> {
    loop {
        let query = [("after", after.to_string()), ("limit", PAGE.to_string())];
        let page = api.get_with(&["events"], &query).await?;
        let before = *after;
        for event in rows(&page, "events") {
            show(api, event, after);
        }
        if *after == before {
            return Ok(());
        }
    }
}

/// Never ends by itself: a stream that breaks (a node that stops) is taken up again behind the last event seen.
async fn follow_from(api: &Api, mut after: u64) -> anyhow::Result<()> {
    loop {
        match follow_once(api, &mut after).await {
            Ok(()) => {}
            // Only what is wrong with the connection passes by waiting; a refusal does not.
            Err(error) if error.is::<reqwest::Error>() => {
                note(format!("the stream broke, again after {after}: {error:#}"));
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(PAUSE_BEFORE_AGAIN).await;
    }
}

async fn follow_once(api: &Api, after: &mut u64) -> anyhow::Result<()> {
    let query = [("after", after.to_string())];
    let mut stream = api.stream(&["events"], &query).await?;
    let mut lines = Lines::default();
    while let Some(chunk) = stream.chunk().await? {
        for event in lines.events(&chunk) {
            show(api, &event, after);
        }
    }
    Ok(())
}

/// Prints an event unless it was seen already, and remembers where we are.
fn show(api: &Api, event: &Value, after: &mut u64) {
    let Some(sequence) = event["sequence"]
        .as_u64()
        .filter(|sequence| sequence > after)
    else {
        return;
    };
    *after = sequence;
    match api.output() {
        Output::Json => line(event.to_string()),
        Output::Text => line(text(event)),
    }
}

/// Sequence, time, who, to what, what, and those parts of its content that fit a line.
fn text(event: &Value) -> String {
    let mut words = vec![
        cell(event, "sequence"),
        cell(event, "time"),
        cell(&event["actor"], "login"),
        cell(event, "stream"),
        cell(event, "type"),
    ];
    let content = &event["content"];
    for (field, value) in content.as_object().into_iter().flatten() {
        if !value.is_object() && !value.is_null() {
            words.push(format!("{field}={}", cell(content, field)));
        }
    }
    words.join("  ")
}

/// Cuts an event stream into the JSON of its `data:` lines.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn events(&mut self, chunk: &[u8]) -> Vec<Value> {
        self.rest.extend_from_slice(chunk);
        let mut events = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let event = line
                .strip_prefix(b"data:")
                .and_then(|json| serde_json::from_slice(json).ok());
            events.extend(event);
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_the_stream_is_cut() {
        let stream = b"id: 1\ndata: {\"sequence\":1}\n\n: ping\n\ndata: {\"sequence\":2}\n\n";
        for cut in 0..stream.len() {
            let mut lines = Lines::default();
            let mut events = lines.events(&stream[..cut]);
            events.extend(lines.events(&stream[cut..]));
            let sequences: Vec<_> = events
                .iter()
                .map(|event| event["sequence"].as_u64())
                .collect();
            assert_eq!(sequences, [Some(1), Some(2)], "cut at {cut}");
        }
    }
}
