//! Recipes of images: where a distribution publishes a disk, and how it is known to be that.

use std::path::{Path, PathBuf};

use crate::{
    Mistake, Problem,
    fields::{self, Fields, Mistakes},
    read,
    yaml::{self, Node},
};

const KEYS: [&str; 6] = ["url", "sums", "signature", "signs", "keyring", "sha256"];

/// Where a disk comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// What the disk is called.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Where the publisher's list of hashes is.
    pub sums: Option<String>,
    /// What the publisher has signed.
    pub signature: Option<Signature>,
    /// The hash that it must have, in hexadecimal digits.
    pub sha256: Option<String>,
}

/// A signature, and the keys that it may be of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Where it is.
    pub url: String,
    /// What was signed.
    pub signs: Signs,
    /// A file with keys, as `gpgv` reads it.
    pub keyring: PathBuf,
}

/// What a publisher signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signs {
    /// The list of hashes.
    Sums,
    /// The disk itself.
    Image,
}

impl Recipe {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Recipe, Problem> {
        let unreadable = |error| Problem::Unreadable { path: path.to_owned(), error };
        Recipe::parse(&path.display().to_string(), &read::bounded(path).map_err(unreadable)?)
    }

    /// Reads the text of a file of that name; the disk is called like the file.
    pub fn parse(file: &str, text: &str) -> Result<Recipe, Problem> {
        let root = yaml::parse(text)
            .map_err(|mistake| Problem::invalid_as("recipe of an image", file, text, vec![mistake]))?;
        let mut mistakes = Mistakes::default();
        recipe(&root, Path::new(file), &mut mistakes)
            .filter(|_| mistakes.0.is_empty())
            .ok_or_else(|| Problem::invalid_as("recipe of an image", file, text, mistakes.0))
    }
}

fn recipe(root: &Node, file: &Path, mistakes: &mut Mistakes) -> Option<Recipe> {
    let fields = Fields::open(root, "a recipe", &KEYS, mistakes)?;
    let url = fields.need("url", "where the publisher has the disk", mistakes);
    let url = url.and_then(|node| address(node, "`url`", mistakes));
    let sums = fields.find("sums").and_then(|node| address(node, "`sums`", mistakes));
    let sha256 = fields.find("sha256").and_then(|node| digest(node, mistakes));
    let signature = signature(&fields, file, mistakes);
    if fields.find("sums").is_none() && fields.find("sha256").is_none() && !fields.is_strange() {
        mistakes.0.push(
            Mistake::new(fields.at(), "a recipe lacks `sums`, or `sha256`")
                .hint("without one of them nobody knows whether what comes is what was published"),
        );
    }
    let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Some(Recipe { name, url: url?, sums, signature, sha256 })
}

fn signature(fields: &Fields<'_>, file: &Path, mistakes: &mut Mistakes) -> Option<Signature> {
    let Some(node) = fields.find("signature") else {
        for key in ["signs", "keyring"] {
            if let Some(node) = fields.find(key) {
                let mistake = Mistake::new(node.at.clone(), format!("`{key}` belongs to a `signature`"));
                mistakes.0.push(mistake.hint("where the publisher's signature is"));
            }
        }
        return None;
    };
    let url = address(node, "`signature`", mistakes);
    let signs = match fields.find("signs") {
        None => Some(Signs::Sums),
        Some(node) => fields::word(
            node,
            "thing that is signed",
            &[("sums", Signs::Sums), ("image", Signs::Image)],
            mistakes,
        ),
    };
    let hint = "a file with the publisher's keys, as gpgv reads it";
    let keyring = fields.need("keyring", hint, mistakes);
    let keyring = keyring.and_then(|node| fields::text(node, "`keyring`", mistakes));
    if signs == Some(Signs::Sums) && fields.find("sums").is_none() {
        mistakes.0.push(
            Mistake::new(node.at.clone(), "the `signature` is one of `sums`, which are not named")
                .hint("`signs: image`, if it is one of the disk itself"),
        );
    }
    let folder = file.parent().unwrap_or(Path::new(""));
    Some(Signature { url: url?, signs: signs?, keyring: folder.join(keyring?) })
}

fn address(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<String> {
    let text = fields::text(node, what, mistakes)?;
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest.is_some_and(|rest| rest.contains('/') && !text.contains(char::is_whitespace)) {
        true => Some(text.to_owned()),
        false => mistakes.add(
            Mistake::new(node.at.clone(), format!("`{}` is no address of a file", fields::shorten(text)))
                .hint("it begins with https:// or http://"),
        ),
    }
}

fn digest(node: &Node, mistakes: &mut Mistakes) -> Option<String> {
    let text = fields::text(node, "`sha256`", mistakes)?;
    match text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Some(text.to_ascii_lowercase()),
        false => mistakes.add(
            Mistake::new(node.at.clone(), "`sha256` is no SHA-256")
                .hint("64 hexadecimal digits, in quotes: `sha256sum FILE` prints them"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str) -> String {
        Recipe::parse("images/some.yaml", text)
            .map_or_else(|problem| problem.render(false), |_| String::new())
    }

    #[test]
    fn a_recipe_is_read() {
        let text = "url: https://a.example/disk.qcow2\nsums: https://a.example/SUMS\nsignature: https://a.example/SUMS.gpg\nkeyring: keys.gpg\n";
        let recipe = Recipe::parse("images/some-1.yaml", text).unwrap();
        assert_eq!(recipe.name, "some-1");
        let signature = recipe.signature.unwrap();
        assert_eq!((signature.signs, signature.keyring.to_str()), (Signs::Sums, Some("images/keys.gpg")));
    }

    #[test]
    fn mistakes_are_shown_where_they_stand() {
        let rest = "sha256: \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"";
        for (text, reason) in [
            ("sums: https://a.example/SUMS".to_owned(), "lacks `url`"),
            ("url: https://a.example/disk".to_owned(), "lacks `sums`, or `sha256`"),
            (format!("url: disk.qcow2\n{rest}"), "no address of a file"),
            (format!("url: ftp://a.example/disk\n{rest}"), "no address of a file"),
            ("url: https://a.example/disk\nsha256: abc".to_owned(), "no SHA-256"),
            (format!("url: https://a.example/disk\nkeyring: k\n{rest}"), "belongs to a `signature`"),
            (
                format!("url: https://a.example/disk\nsignature: https://a.example/s\nkeyring: k\n{rest}"),
                "which are not named",
            ),
            (
                format!("url: https://a.example/disk\nsignature: https://a.example/s\nsigns: image\n{rest}"),
                "lacks `keyring`",
            ),
            (format!("url: https://a.example/disk\nsum: x\n{rest}"), "no key `sum`"),
            ("[]".to_owned(), "must be a mapping"),
        ] {
            let complaint = complaint(&text);
            assert!(complaint.contains(reason), "{text}\n{complaint}");
        }
    }
}
