//! The files of the tree, and Rust text without its comments and literals.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").to_path_buf()
}

/// A text file, by its path from the root.
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }
}

/// Every text file that belongs to the project, committed or about to be.
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
}

impl Tree {
    /// Walks the folders instead of asking git, so that the rules also hold in an unpacked archive.
    pub(crate) fn read() -> Self {
        let mut files = Vec::new();
        walk(&root(), Path::new(""), &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self { files }
    }
}

/// Folders that hold no sources of ours: the build output, git's own, and what a fuzz run leaves.
const NOT_OURS: &[&str] =
    &[".git", ".build", "tests/fuzz/target", "tests/fuzz/artifacts", "tests/fuzz/coverage"];

fn walk(root: &Path, folder: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = folder.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            if !NOT_OURS.iter().any(|not_ours| path == Path::new(not_ours)) {
                walk(root, &path, files);
            }
        } else if kind.is_file() {
            // Not UTF-8: an image or a fuzz corpus, of no interest to rules about text.
            if let Ok(text) = fs::read_to_string(root.join(&path)) {
                files.push(File { path, text });
            }
        }
    }
}

/// `text` with comments, string and character literals blanked out; line breaks stay, so line numbers do too.
pub(crate) fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match skipped(&chars, at) {
            Some(end) => end,
            None => {
                out.push(chars[at]);
                at += 1;
                continue;
            }
        };
        out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

/// The end of the comment or literal that begins at `at`, if one does.
fn skipped(chars: &[char], at: usize) -> Option<usize> {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => {
            Some((at..chars.len()).find(|&i| chars[i] == '\n').unwrap_or(chars.len()))
        }
        '/' if next == Some('*') => Some(block_comment(chars, at)),
        '"' => Some(quoted(chars, at, '"')),
        'r' if !in_word(chars, at) => raw_string(chars, at),
        // A lifetime has no closing quote two characters on, unless it is an escape.
        '\'' if next == Some('\\') || chars.get(at + 2) == Some(&'\'') => Some(quoted(chars, at, '\'')),
        _ => None,
    }
}

/// Whether the character at `at` continues an identifier (`br"…"` counts as the start of a literal).
fn in_word(chars: &[char], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map(|i| chars[i]);
    let word = |c: char| c.is_alphanumeric() || c == '_';
    match before(1) {
        Some('b' | 'c') => before(2).is_some_and(word),
        Some(c) => word(c),
        None => false,
    }
}

fn block_comment(chars: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0_usize, start);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn quoted(chars: &[char], start: usize, quote: char) -> usize {
    let mut at = start + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

fn raw_string(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars[start + 1..].iter().take_while(|&&c| c == '#').count();
    if chars.get(start + 1 + hashes) != Some(&'"') {
        return None;
    }
    let body = start + 2 + hashes;
    let closes =
        |&i: &usize| chars[i] == '"' && chars[i + 1..].iter().take_while(|&&c| c == '#').count() >= hashes;
    Some((body..chars.len()).find(closes).map_or(chars.len(), |i| i + 1 + hashes))
}

#[test]
fn comments_and_literals_are_blanked_and_code_stays() {
    let text = "a // todo!()\nb /* x /* y */ z */ c \"d\\\"e\" 'f' '\\'' &'g h r#\"i\"j\"# br\"k\" r#type";
    let words: Vec<_> = code_only(text).split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, ["a", "b", "c", "&'g", "h", "b", "r#type"]);
    assert_eq!(code_only(text).lines().count(), 2);
}
