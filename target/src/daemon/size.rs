//! Sizes as people write them: `512M`, `10G`, `64TiB`.

/// Bytes in a size: a number and a unit of 1024s (K, M, G, T, P; also KiB and so on), or bytes without a unit. The number may
/// have decimals when they make whole bytes: `1.5G`.
///
/// # Errors
/// A sentence that says what is wrong and how it is written.
pub fn parse(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u32); 6] = [("", 0), ("K", 10), ("M", 20), ("G", 30), ("T", 40), ("P", 50)];
    let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (number, unit) = text.split_at(digits);
    let upper = unit.to_ascii_uppercase();
    let shift = UNITS
        .iter()
        .find(|(name, _)| upper == *name || (!name.is_empty() && upper == format!("{name}IB")))
        .map(|(_, shift)| *shift);
    let (Some((number, scale)), Some(shift)) = (decimal(number), shift) else {
        return Err(format!(
            "size {text:?} is not understood: write a number and K, M, G, T or P (units of 1024), such as 512M or 10G"
        ));
    };
    let too_large = || format!("size {text:?} is too large");
    let bytes = number.and_then(|number| number.checked_mul(1 << shift)).ok_or_else(too_large)?;
    if bytes % scale != 0 {
        return Err(format!("size {text:?} is not a whole number of bytes"));
    }
    match u64::try_from(bytes / scale) {
        Ok(0) => Err("size 0 makes no disk".into()),
        Ok(bytes) => Ok(bytes),
        Err(_) => Err(too_large()),
    }
}

/// `1.25` as 125 and 100. The inner `None`: a number beyond all sizes; the outer one: not a number.
fn decimal(text: &str) -> Option<(Option<u128>, u128)> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(decimals) || decimals.len() > 15 {
        return None;
    }
    let scale = 10u128.pow(u32::try_from(decimals.len()).ok()?);
    let decimals: u128 = decimals.parse().ok()?;
    let number = whole.parse::<u128>().ok().and_then(|whole| whole.checked_mul(scale)?.checked_add(decimals));
    Some((number, scale))
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
            ("1.5T", 3 << 39),
            ("0.5k", 512),
            ("2.0", 2),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "G",
            "-1G",
            "1.5",
            "0.3K",
            "1.G",
            ".5G",
            "1.2.3G",
            "1GB",
            "1X",
            "0",
            "0G",
            "1 G",
            "18446744073709551616",
            "16384P",
            "1G,",
            "999999999999999999999999999999999999999999P",
        ] {
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
