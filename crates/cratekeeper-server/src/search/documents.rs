//! The search index itself: one document per crate, how it is written, and how words become a query.

use std::fs;
use std::io;
use std::path::Path;

use tantivy::collector::sort_key::{SortBySimilarityScore, SortByString};
use tantivy::collector::{Count, TopDocs};
use tantivy::query::{AllQuery, BooleanQuery, BoostQuery, Occur, Query, RegexQuery, TermQuery};
use tantivy::schema::{
    FAST, Field, IndexRecordOption, STORED, STRING, Schema, SchemaBuilder, TEXT, Value,
};
use tantivy::{
    Index, IndexReader, IndexWriter, Order, ReloadPolicy, TantivyDocument, TantivyError, Term,
};

use crate::http::{SEARCH_WORD_CHARS_MAX, SEARCH_WORDS_MAX};

/// Changes with the fields and with what is written into them; an index of another version is built again.
const VERSION: &str = "1";
/// The least that tantivy works with; crates are small.
const WRITER_MEMORY_BYTES: usize = 15_000_000;

/// What is known of a crate.
pub(super) struct Document {
    pub(super) canonical: String,
    pub(super) name: String,
    pub(super) max_version: String,
    pub(super) description: Option<String>,
    pub(super) keywords: Vec<String>,
}

/// One page of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) crates: Vec<FoundCrate>,
    /// On all pages.
    pub(crate) total: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FoundCrate {
    pub(crate) name: String,
    pub(crate) max_version: String,
    pub(crate) description: Option<String>,
}

/// How far the last commit had folded the history: a sequence, and the chain hash there by which to know the history again.
pub(super) struct Folded {
    pub(super) sequence: u64,
    pub(super) chain: String,
}

#[derive(Clone, Copy)]
struct Fields {
    canonical: Field,
    name: Field,
    max_version: Field,
    description: Field,
    keywords: Field,
}

impl Fields {
    fn schema() -> (Schema, Fields) {
        let mut builder = SchemaBuilder::new();
        let fields = Fields {
            canonical: builder.add_text_field("canonical", STRING | FAST),
            name: builder.add_text_field("name", STORED),
            max_version: builder.add_text_field("max_version", STORED),
            description: builder.add_text_field("description", TEXT | STORED),
            keywords: builder.add_text_field("keywords", TEXT),
        };
        (builder.build(), fields)
    }
}

/// An open index.
pub(super) struct Documents {
    index: Index,
    reader: IndexReader,
    fields: Fields,
}

impl Documents {
    /// The index in `directory` if it is whole and of this version, else an empty one in its place.
    pub(super) fn open_or_create(directory: &Path) -> Result<Documents, TantivyError> {
        match Documents::open(directory) {
            Ok(Some(documents)) => Ok(documents),
            Ok(None) => Documents::create(directory),
            Err(error) => {
                tracing::warn!(%error, "the search index cannot be opened and is built again");
                Documents::create(directory)
            }
        }
    }

    /// An empty index in place of whatever is in `directory`.
    pub(super) fn create(directory: &Path) -> Result<Documents, TantivyError> {
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        fs::create_dir_all(directory)?;
        let (schema, fields) = Fields::schema();
        Documents::over(Index::create_in_dir(directory, schema)?, fields)
    }

    fn open(directory: &Path) -> Result<Option<Documents>, TantivyError> {
        if !directory.join("meta.json").exists() {
            return Ok(None);
        }
        let index = Index::open_in_dir(directory)?;
        let (schema, fields) = Fields::schema();
        let payload = index.load_metas()?.payload;
        let same_version = payload
            .as_deref()
            .is_none_or(|payload| parse_payload(payload).is_some());
        if index.schema() != schema || !same_version || !index.validate_checksum()?.is_empty() {
            return Ok(None);
        }
        Documents::over(index, fields).map(Some)
    }

    fn over(index: Index, fields: Fields) -> Result<Documents, TantivyError> {
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .try_into()?;
        Ok(Documents {
            index,
            reader,
            fields,
        })
    }

    /// What the last commit said of itself; `None` before the first.
    pub(super) fn folded(&self) -> Result<Option<Folded>, TantivyError> {
        let payload = self.index.load_metas()?.payload;
        Ok(payload.as_deref().and_then(parse_payload))
    }

    /// The writer; there is one at a time.
    pub(super) fn writer(&self) -> Result<Writer, TantivyError> {
        Ok(Writer {
            writer: self.index.writer_with_num_threads(1, WRITER_MEMORY_BYTES)?,
            reader: self.reader.clone(),
            fields: self.fields,
        })
    }

    /// Best first, equals by name, so that pages do not overlap.
    pub(super) fn find(
        &self,
        text: &str,
        limit: usize,
        offset: usize,
    ) -> Result<Found, TantivyError> {
        let searcher = self.reader.searcher();
        let query = self.query(text);
        let ranking = (
            (SortBySimilarityScore, Order::Desc),
            (SortByString::for_field("canonical"), Order::Asc),
        );
        let top = TopDocs::with_limit(limit.max(1))
            .and_offset(offset)
            .order_by(ranking);
        let (ranked, total) = searcher.search(&query, &(top, Count))?;
        let mut crates = Vec::with_capacity(ranked.len());
        for (_, address) in ranked {
            let stored: TantivyDocument = searcher.doc(address)?;
            let text = |field| {
                let value = stored.get_first(field).and_then(|value| value.as_str());
                value.map(str::to_owned)
            };
            crates.push(FoundCrate {
                name: text(self.fields.name).unwrap_or_default(),
                max_version: text(self.fields.max_version).unwrap_or_default(),
                description: text(self.fields.description),
            });
        }
        Ok(Found { crates, total })
    }

    /// Every word must be found somewhere; the whole text as a name counts most, then names, keywords, descriptions.
    fn query(&self, text: &str) -> Box<dyn Query> {
        let words = words(text);
        if words.is_empty() {
            return Box::new(BoostQuery::new(Box::new(AllQuery), 1.0));
        }
        let whole = words.join("_");
        let mut clauses: Vec<(Occur, Box<dyn Query>)> = words
            .iter()
            .map(|word| (Occur::Must, self.word(word)))
            .collect();
        let exact = Term::from_field_text(self.fields.canonical, &whole);
        let exact = TermQuery::new(exact, IndexRecordOption::Basic);
        clauses.push((Occur::Should, scored(Box::new(exact), 1000.0)));
        if let Some(prefix) = pattern(self.fields.canonical, &format!("{whole}.*"), 100.0) {
            clauses.push((Occur::Should, prefix));
        }
        Box::new(BooleanQuery::new(clauses))
    }

    fn word(&self, word: &str) -> Box<dyn Query> {
        let Fields {
            canonical,
            keywords,
            description,
            ..
        } = self.fields;
        let places = [
            pattern(canonical, &format!("(.*_)?{word}(_.*)?"), 20.0),
            pattern(canonical, &format!(".*{word}.*"), 10.0),
            pattern(keywords, &format!("{word}.*"), 4.0),
            pattern(description, &format!("{word}.*"), 1.0),
        ];
        let places = places.into_iter().flatten();
        Box::new(BooleanQuery::union(places.collect()))
    }
}

/// The score of a match is `score` whatever the match: how often a word stands in a description says nothing about a crate.
fn scored(query: Box<dyn Query>, score: f32) -> Box<dyn Query> {
    Box::new(tantivy::query::ConstScoreQuery::new(query, score))
}

/// Words are letters and digits only, so nothing in them means anything to the pattern.
fn pattern(field: Field, pattern: &str, score: f32) -> Option<Box<dyn Query>> {
    let query = RegexQuery::from_pattern(pattern, field).ok()?;
    Some(scored(Box::new(query), score))
}

/// The words of a query: runs of letters and digits, lower-cased, each and all of them bounded.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(SEARCH_WORDS_MAX)
        .map(|word| {
            let lower = word.to_lowercase();
            let letters = lower.chars().filter(|c| c.is_alphanumeric());
            letters.take(SEARCH_WORD_CHARS_MAX).collect()
        })
        .collect()
}

fn parse_payload(payload: &str) -> Option<Folded> {
    let mut parts = payload.split(' ');
    let (version, sequence, chain) = (parts.next()?, parts.next()?, parts.next()?);
    (version == VERSION).then_some(())?;
    Some(Folded {
        sequence: sequence.parse().ok()?,
        chain: chain.to_owned(),
    })
}

/// Writes documents; nothing is seen before `commit`.
pub(super) struct Writer {
    writer: IndexWriter,
    reader: IndexReader,
    fields: Fields,
}

impl Writer {
    /// In place of what was known of the same crate.
    pub(super) fn put(&mut self, document: &Document) -> Result<(), TantivyError> {
        self.delete(&document.canonical);
        let mut fields = TantivyDocument::default();
        fields.add_text(self.fields.canonical, &document.canonical);
        fields.add_text(self.fields.name, &document.name);
        fields.add_text(self.fields.max_version, &document.max_version);
        if let Some(description) = &document.description {
            fields.add_text(self.fields.description, description);
        }
        for keyword in &document.keywords {
            fields.add_text(self.fields.keywords, keyword);
        }
        self.writer.add_document(fields)?;
        Ok(())
    }

    pub(super) fn delete(&mut self, canonical: &str) {
        let term = Term::from_field_text(self.fields.canonical, canonical);
        self.writer.delete_term(term);
    }

    pub(super) fn clear(&mut self) -> Result<(), TantivyError> {
        self.writer.delete_all_documents()?;
        Ok(())
    }

    /// Durable and visible when it returns, together with how far the history is folded.
    pub(super) fn commit(&mut self, sequence: u64, chain: &str) -> Result<(), TantivyError> {
        let mut commit = self.writer.prepare_commit()?;
        commit.set_payload(&format!("{VERSION} {sequence} {chain}"));
        commit.commit()?;
        self.reader.reload()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(name: &str, description: &str, keywords: &[&str]) -> Document {
        Document {
            canonical: name.to_lowercase().replace('-', "_"),
            name: name.to_owned(),
            max_version: "1.0.0".to_owned(),
            description: Some(description.to_owned()),
            keywords: keywords.iter().map(ToString::to_string).collect(),
        }
    }

    fn names(documents: &Documents, query: &str) -> Vec<String> {
        let found = documents.find(query, 100, 0).expect("an answer");
        assert_eq!(found.total, found.crates.len(), "{query}");
        found.crates.into_iter().map(|krate| krate.name).collect()
    }

    fn library(directory: &Path) -> Documents {
        let documents = Documents::open_or_create(directory).expect("an index");
        let mut writer = documents.writer().expect("a writer");
        for it in [
            document("serde_json", "JSON for serde", &["json"]),
            document("serde", "Serialization framework", &["encoding"]),
            document("miniserde", "Small", &[]),
            document("Foo-Bar", "Frobnicates; works with serde", &["frob"]),
        ] {
            writer.put(&it).expect("written");
        }
        writer.commit(7, "c0ffee").expect("committed");
        drop(writer);
        documents
    }

    #[test]
    fn names_come_before_parts_of_names_and_those_before_descriptions() {
        let directory = tempfile::tempdir().expect("a directory");
        let documents = library(directory.path());
        assert_eq!(
            names(&documents, "serde"),
            ["serde", "serde_json", "miniserde", "Foo-Bar"]
        );
        assert_eq!(names(&documents, "SERDE-json"), ["serde_json"]);
        assert_eq!(names(&documents, "foo_bar"), ["Foo-Bar"]);
        assert_eq!(names(&documents, "frob"), ["Foo-Bar"]);
        assert_eq!(names(&documents, "serial"), ["serde"]);
        assert_eq!(names(&documents, "nothing"), Vec::<String>::new());
    }

    #[test]
    fn no_words_mean_every_crate_by_name_in_pages() {
        let directory = tempfile::tempdir().expect("a directory");
        let documents = library(directory.path());
        let all = ["Foo-Bar", "miniserde", "serde", "serde_json"];
        assert_eq!(names(&documents, ""), all);
        let second = documents.find("", 2, 2).expect("an answer");
        assert_eq!(second.total, 4);
        assert_eq!(second.crates[0].name, "serde");
    }

    #[test]
    fn no_text_is_an_error() {
        let directory = tempfile::tempdir().expect("a directory");
        let documents = library(directory.path());
        let long = "x".repeat(100_000);
        for text in [
            "\"",
            "(",
            "a AND",
            "[a TO",
            "\\",
            "*",
            "ü.*",
            "name:serde",
            "-serde",
            "\0",
            "😀",
            &long,
        ] {
            documents.find(text, 10, 0).expect(text);
        }
    }

    #[test]
    fn a_crate_is_one_document_and_an_index_continues_where_it_was() {
        let directory = tempfile::tempdir().expect("a directory");
        drop(library(directory.path()));
        let documents = Documents::open_or_create(directory.path()).expect("an index");
        let folded = documents.folded().expect("readable").expect("committed");
        assert_eq!((folded.sequence, folded.chain.as_str()), (7, "c0ffee"));

        let mut writer = documents.writer().expect("a writer");
        writer
            .put(&document("serde", "Other", &[]))
            .expect("written");
        writer.delete("miniserde");
        writer.commit(8, "c0ffef").expect("committed");
        assert_eq!(names(&documents, ""), ["Foo-Bar", "serde", "serde_json"]);
    }

    #[test]
    fn a_damaged_index_starts_empty() {
        let directory = tempfile::tempdir().expect("a directory");
        drop(library(directory.path()));
        fs::write(directory.path().join("meta.json"), "{").expect("written");
        let documents = Documents::open_or_create(directory.path()).expect("an index");
        assert!(documents.folded().expect("readable").is_none());
        assert!(names(&documents, "").is_empty());
    }
}
