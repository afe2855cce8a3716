//! The commands that the documentation says.

use std::{fs, path::Path};

/// A command of natrig as it stands in a block of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Where it stands.
    pub at: String,
    /// All of it, for a shell.
    pub text: String,
    /// Whether it stands for many, with words in capitals for what belongs in their places.
    pub is_usage: bool,
}

/// The commands of a page, in their order.
pub fn commands(page: &Path) -> Vec<Said> {
    let text = fs::read_to_string(page).unwrap();
    let name = page.file_name().unwrap().to_string_lossy().into_owned();
    let mut commands = Vec::new();
    let mut in_fence = false;
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
            continue;
        }
        if !in_fence && !line.starts_with("    ") {
            continue;
        }
        let line = line.trim_start();
        let mut text = line.strip_prefix("$ ").unwrap_or(line).to_owned();
        if !text.starts_with("natrig ") {
            continue;
        }
        while let Some(begun) = text.strip_suffix('\\') {
            let next = lines.next().map_or("", |(_, line)| line.trim());
            text = format!("{} {next}", begun.trim_end());
        }
        // What explains it stands behind two spaces.
        let text = text.split("  ").next().unwrap_or_default().trim().to_owned();
        let is_usage = text.contains("...")
            || [" | show", " | ls", " | diff"].iter().any(|words| text.contains(words))
            || text
                .split([' ', '[', ']'])
                .any(|word| word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase()));
        commands.push(Said { at: format!("{name}:{}", number + 1), text, is_usage });
    }
    commands
}
