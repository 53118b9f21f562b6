//! The known name that a mistyped one most likely stands for.

/// The known name nearest to `name`, when one is near enough to be meant.
pub fn of<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let fold = |text: &str| text.to_lowercase().replace(['-', '_'], "");
    let wanted = fold(name);
    known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(&wanted, &fold(known)), known))
        .filter(|(distance, known)| *distance <= known.len() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn a_slip_finds_its_name_and_another_word_does_not() {
        let known = ["path", "size", "read_only", "format"];
        assert_eq!(of("pth", known), Some("path"));
        assert_eq!(of("readonly", known), Some("read_only"));
        assert_eq!(of("Read-Only", known), Some("read_only"));
        assert_eq!(of("fromat", known), Some("format"));
        assert_eq!(of("banana", known), None);
        assert_eq!(of("", known), None);
    }
}
