//! Numbers with units: times, sizes, rates, shares.

use std::time::Duration;

use crate::yaml::Value;

/// Splits `50ms` into 50 and `ms`.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let unit = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let (number, unit) = text.split_at(unit);
    Some((number.parse().ok()?, unit.trim()))
}

/// A time with its unit, at most a day.
pub(crate) fn time(value: &Value) -> Option<Duration> {
    let Value::Text(text) = value else {
        return None;
    };
    let (number, unit) = split(text)?;
    let seconds = match unit {
        "us" | "µs" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" | "min" => number * 60.0,
        _ => return None,
    };
    (seconds <= 86_400.0).then(|| Duration::from_secs_f64(seconds))
}

/// Memory in MiB. The seed's `256 MB` is what machines call MiB.
pub(crate) fn mebibytes(value: &Value) -> Option<u32> {
    let Value::Text(text) = value else {
        return None;
    };
    let (number, unit) = split(text)?;
    let mebibytes = match unit {
        "MB" | "MiB" | "M" => number,
        "GB" | "GiB" | "G" => number * 1024.0,
        _ => return None,
    };
    (mebibytes.fract() == 0.0 && mebibytes <= f64::from(u32::MAX)).then_some(mebibytes as u32)
}

/// Bits per second, with or without `/s`. What `bps` means depends on whom one asks.
pub(crate) fn bits_per_second(value: &Value) -> Option<u64> {
    let Value::Text(text) = value else {
        return None;
    };
    let (number, unit) = split(text)?;
    let bits = match unit.strip_suffix("/s").unwrap_or(unit).to_ascii_lowercase().as_str() {
        "bit" => number,
        "kbit" => number * 1e3,
        "mbit" => number * 1e6,
        "gbit" => number * 1e9,
        _ => return None,
    };
    (bits <= 1e12).then_some(bits.round() as u64)
}

/// A size in bytes.
pub(crate) fn bytes(value: &Value) -> Option<u64> {
    let Value::Text(text) = value else {
        return None;
    };
    let (number, unit) = split(text)?;
    let bytes = match unit {
        "B" => number,
        "kB" => number * 1e3,
        "KiB" => number * 1024.0,
        "MB" => number * 1e6,
        "MiB" => number * 1024.0 * 1024.0,
        _ => return None,
    };
    (bytes <= 1e15).then_some(bytes.round() as u64)
}

/// A share: `1%` or `0.01`.
pub(crate) fn share(value: &Value) -> Option<f64> {
    let share = match value {
        Value::Number(number) => *number,
        Value::Text(text) => match split(text)? {
            (number, "%") => number / 100.0,
            _ => return None,
        },
        _ => return None,
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn units_are_read_and_never_guessed() {
        assert_eq!(time(&text("50ms")), Some(Duration::from_millis(50)));
        assert_eq!(time(&text("0.5 s")), Some(Duration::from_millis(500)));
        assert_eq!(time(&text("2m")), Some(Duration::from_secs(120)));
        for wrong in ["50", "ms", "-5ms", "5 parsecs", "", "1e9s", "999999m"] {
            assert_eq!(time(&text(wrong)), None, "{wrong}");
        }
        assert_eq!(mebibytes(&text("256 MB")), Some(256));
        assert_eq!(mebibytes(&text("0.5 GB")), Some(512));
        assert_eq!(mebibytes(&text("256 kB")), None);
        assert_eq!(bits_per_second(&text("10 Mbit/s")), Some(10_000_000));
        assert_eq!(bits_per_second(&text("0.5kbit")), Some(500));
        assert_eq!(bits_per_second(&text("1gbit")), Some(1_000_000_000));
        for wrong in ["10 Mbps", "10", "-1 Mbit/s", "1e9 Gbit/s", "10 MB/s", "Mbit/s"] {
            assert_eq!(bits_per_second(&text(wrong)), None, "{wrong}");
        }
        assert_eq!(bytes(&text("1500B")), Some(1500));
        assert_eq!(bytes(&text("64 kB")), Some(64_000));
        assert_eq!(bytes(&text("64 KiB")), Some(65_536));
        assert_eq!(bytes(&text("64 k")), None);
        assert_eq!(share(&text("1%")), Some(0.01));
        assert_eq!(share(&Value::Number(0.25)), Some(0.25));
        assert_eq!(share(&text("101%")), None);
        assert_eq!(share(&Value::Number(-0.1)), None);
    }
}
