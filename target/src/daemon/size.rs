//! Sizes as people write them: `512M`, `10G`, `64TiB`.

/// Bytes in a size: a number and a unit of 1024s (K, M, G, T, P; also KiB and so on), or bytes without a unit.
///
/// # Errors
/// A sentence that says what is wrong and how it is written.
pub fn parse(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u32); 6] = [("", 0), ("K", 10), ("M", 20), ("G", 30), ("T", 40), ("P", 50)];
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let upper = unit.to_ascii_uppercase();
    let shift = UNITS
        .iter()
        .find(|(name, _)| upper == *name || (!name.is_empty() && upper == format!("{name}IB")))
        .map(|(_, shift)| *shift);
    let help = "write a whole number and K, M, G, T or P (units of 1024), such as 512M or 10G";
    let (Ok(number), Some(shift)) = (number.parse::<u64>(), shift) else {
        if number.is_empty() || number.len() < 19 {
            return Err(format!("size {text:?} is not understood: {help}"));
        }
        return Err(format!("size {text:?} is too large"));
    };
    match number.checked_mul(1 << shift) {
        Some(0) => Err("size 0 makes no disk".into()),
        Some(bytes) => Ok(bytes),
        None => Err(format!("size {text:?} is too large")),
    }
}

/// A size for people: the largest unit of 1024s that leaves at least one, with at most two decimals (rounded down), exact
/// when it has none.
#[must_use]
pub fn display(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = (bytes.max(1).ilog2() / 10) as usize;
    let name = UNITS.get(unit).copied().unwrap_or("EiB");
    let one = 1u64 << (10 * unit);
    let hundredths = u128::from(bytes % one) * 100 / u128::from(one);
    if bytes.is_multiple_of(one) {
        format!("{} {name}", bytes / one)
    } else {
        format!("{}.{hundredths:02} {name}", bytes / one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_units_of_1024() {
        for (text, bytes) in [
            ("1", 1),
            ("512", 512),
            ("1k", 1024),
            ("512M", 512 << 20),
            ("1GiB", 1 << 30),
            ("64T", 64 << 40),
            ("15P", 15 << 50),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in
            ["", "G", "-1G", "1.5G", "1GB", "1X", "0", "0G", "1 G", "18446744073709551616", "16384P", "1G,"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1 << 30, "1 GiB"),
            (3 << 29, "1.50 GiB"),
            ((1 << 30) + 1, "1.00 GiB"),
            (64 << 40, "64 TiB"),
            (u64::MAX, "15.99 EiB"),
        ] {
            assert_eq!(display(bytes), text);
        }
    }
}
