//! Numbers with units: times, sizes, shares.

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
        assert_eq!(share(&text("1%")), Some(0.01));
        assert_eq!(share(&Value::Number(0.25)), Some(0.25));
        assert_eq!(share(&text("101%")), None);
        assert_eq!(share(&Value::Number(-0.1)), None);
    }
}
