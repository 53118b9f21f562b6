//! The table against itself and, as a snapshot, against a reader.

use std::collections::HashSet;
use std::fmt::Write;

use super::*;
use crate::text::grammar::{boolean, is_key_name, number};

#[test]
fn every_name_is_a_key_name_and_leads_back_to_its_row() {
    let mut names = HashSet::new();
    for row in KEYS {
        assert!(is_key_name(row.name), "{}", row.name);
        assert!(names.insert(row.name), "{} stands twice", row.name);
        assert_eq!(Key::from_name(row.name), Some(row.key));
        assert_eq!(row.key.row(), row);
        assert!(row.initiator.is_some() || row.target.is_some(), "nobody sends {}", row.name);
    }
    assert_eq!(Key::from_name("initiatorname"), None);
    assert_eq!(Key::from_name("X-com.example"), None);
}

#[test]
fn every_default_is_a_value_that_the_rule_allows() {
    for row in KEYS {
        let Some(default) = row.default else { continue };
        let fits = match row.kind {
            Kind::And | Kind::Or => boolean(default).is_ok(),
            Kind::Minimum { low, high } | Kind::Maximum { low, high } => {
                number(default).is_ok_and(|value| (u64::from(low)..=u64::from(high)).contains(&value))
            }
            Kind::Declaration(Form::Number { low, high }) => {
                number(default).is_ok_and(|value| (u64::from(low)..=u64::from(high)).contains(&value))
            }
            Kind::List(values) | Kind::Declaration(Form::OneOf(values)) => values.contains(&default),
            Kind::Obsolete { .. } => boolean(default).is_ok(),
            Kind::Declaration(_) | Kind::Authentication { .. } => false,
        };
        assert!(fits, "{}={default}", row.name);
    }
}

/// RFC 7143 §12 lists what may stand in the security stage, besides the methods' own keys.
#[test]
fn the_security_stage_has_the_keys_that_the_standard_lists() {
    let mut in_security: Vec<_> = KEYS
        .iter()
        .filter(|row| !matches!(row.kind, Kind::Authentication { .. }))
        .filter(|row| {
            [row.initiator, row.target].into_iter().flatten().any(|when| when.allows(Phase::Security))
        })
        .map(|row| row.name)
        .collect();
    in_security.sort_unstable();
    let expected = [
        "AuthMethod",
        "InitiatorAlias",
        "InitiatorName",
        "SessionType",
        "TargetAddress",
        "TargetAlias",
        "TargetName",
        "TargetPortalGroupTag",
    ];
    assert_eq!(in_security, expected);
}

#[test]
fn the_table_is_what_the_standard_says() {
    let when = |when: Option<Use>| match when {
        None => "-",
        Some(Use::Security) => "security",
        Some(Use::LoginAnyStage) => "IO, also in security",
        Some(Use::InitializeOnly) => "IO",
        Some(Use::LeadingOnly) => "LO",
        Some(Use::FullFeatureOnly) => "FFPO",
        Some(Use::Any) => "ALL",
        Some(Use::AnyStage) => "ALL, also in security",
    };
    let mut table =
        String::from("| key | clause | initiator | target | scope | discovery | rule | default |\n");
    for row in KEYS {
        let scope = if row.scope == Scope::Session { "session" } else { "connection" };
        let discovery = if row.irrelevant_in_discovery { "irrelevant" } else { "relevant" };
        writeln!(
            table,
            "| {} | {} | {} | {} | {scope} | {discovery} | {:?} | {} |",
            row.name,
            row.clause,
            when(row.initiator),
            when(row.target),
            row.kind,
            row.default.unwrap_or("-"),
        )
        .unwrap();
    }
    insta::assert_snapshot!(table);
}
