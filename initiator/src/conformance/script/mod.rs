//! Cases as text: steps that a person can read, and that a table can hold by the hundred.
//!
//! ```text
//! A register 0 a; B register 0 b; A reserve a 5
//! C preempt a b 5 = conflict
//! B preempt b a 5; keys b; holder b 5; A ua 2a/05
//! ```
//!
//! | step | meaning |
//! |---|---|
//! | `WHO register KEY NEW [OPTION...]` | REGISTER; `ignore` for REGISTER AND IGNORE EXISTING KEY |
//! | `WHO reserve KEY TYPE`, `release` | TYPE is byte 2 of the CDB in hexadecimal: scope and type |
//! | `WHO clear KEY` | CLEAR |
//! | `WHO preempt KEY VICTIM TYPE`, `abort` | PREEMPT, PREEMPT AND ABORT |
//! | `WHO move KEY NEW TO [OPTION...]` | REGISTER AND MOVE to the port TO |
//! | `WHO out ACTION KEY NEW TYPE`, `WHO in ACTION` | PERSISTENT RESERVE OUT and IN with any service action (hexadecimal) |
//! | `WHO reserve6`, `release6`, `reserve10`, `release10` | SPC-2 |
//! | `WHO tur`, `inquiry`, `luns`, `read`, `write BYTE` | READ(10) and WRITE(10) of block 0, filled with BYTE |
//! | `WHO block BYTE` | block 0 is filled with BYTE |
//! | `WHO ua CODE`, `WHO noua` | this unit attention was reported since the last look; none about reservations was |
//! | `WHO login`, `logout`, `cut`, `lureset`, `warmreset`, `coldreset` | sessions and task management; `login` twice is session reinstatement |
//! | `keys KEY...`, `holder KEY TYPE`, `holder none` | READ KEYS, READ RESERVATION, by a stranger |
//! | `status WHO:KEY[*][+]...` | READ FULL STATUS: all registrations, `*` holds the reservation, `+` has ALL_TG_PT |
//! | `persists 0`, `persists 1` | PTPL_A of REPORT CAPABILITIES |
//! | `mark`, `generation N` | PRGENERATION has grown by N since `mark` |
//! | `restart` | by the caller's command; all sessions end |
//!
//! WHO is a port: A, B and C are ports of different nodes, D is another port of A's node, E has A's ISID and another name; with a 2
//! after it, through the second portal. Keys are letters, or 0. Options: `aptpl`, `all` (ALL_TG_PT), `ports=B,C` (SPEC_I_PT), `ports=!` (SPEC_I_PT
//! with a TransportID that is cut), `unreg`, `len=N` (length of the parameter list), `port=N` (RELATIVE TARGET PORT IDENTIFIER).
//!
//! After `=` stands what must come: `good` (the default), `conflict`, `illegal CODE`, `ua CODE`, `refused` (anything but GOOD and
//! but a lost session); `|` between alternatives. A step that expects no unit attention takes what comes and is sent again.

mod parse;
mod run;

pub(super) use run::run;

pub use parse::ScriptError;

use super::case::{Body, Case, Need};

/// A row of a table of scripts. With `types`, one case for each: `{T}` in the steps is its number, `{U}` that of another type with the
/// same all-registrants property, and `{H}` the key that READ RESERVATION shows when A is the holder with key a. `{P}` is `preempt`, or `abort` in the group
/// `preempt-and-abort`.
#[derive(Debug)]
pub struct Script {
    /// Name; the type is added to it.
    pub name: &'static str,
    /// Where the requirement stands.
    pub clause: &'static str,
    /// What the standard wants.
    pub requirement: &'static str,
    /// Types to run it with.
    pub types: &'static [u8],
    /// What it needs besides the types.
    pub needs: &'static [Need],
    /// The steps, with `;` or line ends between them.
    pub steps: &'static str,
}

impl Script {
    /// The cases of this row.
    #[must_use]
    pub fn cases(&'static self) -> Vec<Case> {
        let verb = if self.name.starts_with("preempt-and-abort/") { "abort" } else { "preempt" };
        let steps = self.steps.replace("{P}", verb);
        if self.types.is_empty() {
            return vec![self.case(self.name.to_owned(), steps, self.needs.to_vec())];
        }
        let case = |&kind: &u8| {
            let other = other_type(kind);
            let holder = if kind >= 7 { "0" } else { "a" };
            let text = steps
                .replace("{T}", &kind.to_string())
                .replace("{U}", &other.to_string())
                .replace("{H}", holder);
            let mut needs = self.needs.to_vec();
            needs.push(Need::Type(kind));
            if self.steps.contains("{U}") {
                needs.push(Need::Type(other));
            }
            self.case(format!("{}/type-{kind}", self.name), text, needs)
        };
        self.types.iter().map(case).collect()
    }

    fn case(&'static self, name: String, text: String, needs: Vec<Need>) -> Case {
        Case {
            name,
            clause: self.clause,
            requirement: self.requirement.to_owned(),
            needs,
            body: Body::Script(text),
        }
    }
}

impl Case {
    /// The steps of a case that has any, one on each line.
    #[must_use]
    pub fn steps(&self) -> Option<String> {
        match &self.body {
            Body::Script(text) => Some(parse::lines(text).collect::<Vec<_>>().join("\n")),
            _ => None,
        }
    }

    /// Whether the steps of the case can be read; a test holds all tables to it.
    ///
    /// # Errors
    /// The first step that cannot.
    pub fn check(&self) -> Result<(), ScriptError> {
        match &self.body {
            Body::Script(text) => parse::parse(text).map(drop),
            _ => Ok(()),
        }
    }
}

/// Another type that is of the all-registrants kind when this one is.
const fn other_type(kind: u8) -> u8 {
    match kind {
        1 => 5,
        3 => 1,
        5 => 6,
        6 => 3,
        7 => 8,
        _ => 7,
    }
}
