//! Consumers of the record: terminal, JSON, JUnit, Markdown.
