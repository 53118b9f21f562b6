//! Why an image cannot be opened or created. Each error names the format, the field of the file or the option that is at
//! fault, what is wrong with it, and where it helps, what to do.

use std::borrow::Cow;
use std::fmt;
use std::io;

use super::Format;

/// Whose fault it is that an image cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenErrorKind {
    /// The host could not read or write the file.
    Io,
    /// The content is of no known format.
    NotRecognised,
    /// Valid, as far as was looked at, but of a kind that is not served.
    Unsupported,
    /// The file breaks the rules of its format.
    Damaged,
    /// Another file, the parent of a differencing disk, is needed.
    ParentNeeded,
    /// The file can be read, but not written in its present state.
    NotWritable,
}

/// An image could not be opened.
#[derive(Debug)]
pub struct OpenError {
    kind: OpenErrorKind,
    format: Option<Format>,
    field: Cow<'static, str>,
    detail: Cow<'static, str>,
    advice: Cow<'static, str>,
    source: Option<io::Error>,
}

impl OpenError {
    /// An error of `kind` about `field` of the file: `detail` says which value it has and what is wrong with that.
    #[must_use]
    pub fn new(
        kind: OpenErrorKind,
        format: Option<Format>,
        field: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            kind,
            format,
            field: field.into(),
            detail: detail.into(),
            advice: Cow::Borrowed(""),
            source: None,
        }
    }

    /// The file breaks a rule of `format` in `field`.
    #[must_use]
    pub fn damaged(
        format: Format,
        field: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(OpenErrorKind::Damaged, Some(format), field, detail)
    }

    /// `field` asks for something of `format` that is not served.
    #[must_use]
    pub fn unsupported(
        format: Format,
        field: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(OpenErrorKind::Unsupported, Some(format), field, detail)
    }

    /// The host failed while `field` was read or written.
    #[must_use]
    pub fn io(format: Format, field: impl Into<Cow<'static, str>>, source: io::Error) -> Self {
        let mut error = Self::new(OpenErrorKind::Io, Some(format), field, source.to_string());
        error.source = Some(source);
        error
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.advice = advice.into();
        self
    }

    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> OpenErrorKind {
        self.kind
    }

    /// The format that was found or asked for, when there is one.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        self.format
    }

    /// The part of the file that is at fault.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(format) = self.format {
            write!(f, "{format} ")?;
        }
        write!(f, "{}: {}", self.field, self.detail)?;
        if !self.advice.is_empty() {
            write!(f, "; {}", self.advice)?;
        }
        Ok(())
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|e| e as _)
    }
}

/// An image could not be created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The format does not allow this value of an option.
    #[error("{format} cannot be created with {option} {value}: {rule}")]
    Option {
        /// The format that was asked for.
        format: Format,
        /// The option as a user writes it, such as `block size`.
        option: &'static str,
        /// The value that was given.
        value: String,
        /// What the format allows.
        rule: &'static str,
    },
    /// The host could not write the file.
    #[error("cannot write the new image: {0}")]
    Io(#[from] io::Error),
}

impl CreateError {
    /// The option `option` has a value that `format` does not allow; `rule` says what it allows.
    #[must_use]
    pub fn option(format: Format, option: &'static str, value: impl ToString, rule: &'static str) -> Self {
        Self::Option { format, option, value: value.to_string(), rule }
    }
}
