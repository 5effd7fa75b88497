//! `mutate`'s `sum`: the sum of a list of numbers.

use crate::event::{Event, Number, Value};

/// Largest integer up to which an `f64` represents every integer exactly.
const EXACT_UP_TO: f64 = 9_007_199_254_740_992.0;
/// Largest exponent whose power of ten does not exceed `EXACT_UP_TO`.
const MOST_DECIMALS: usize = 15;

/// Returns the sum of the numbers in a list, or of a single value; `None` if there is no number. Texts that are numbers
/// are included, and anything else, such as `-`, is ignored. The sum of integers is an integer. Decimals are added
/// exactly, so that `0.1` and `0.2` make `0.3`.
pub fn of(event: &mut Event, value: Value) -> Option<Value> {
    let elements = match event.load(value) {
        Value::Array(list) => event.loaded_values(list),
        single => vec![single],
    };
    let mut whole = Some(0_i64);
    let mut sum = 0.0;
    let mut decimals = 0;
    let mut found = false;
    for element in elements {
        let Some(addend) = addend(event, element) else { continue };
        found = true;
        sum += addend.value;
        decimals = decimals.max(addend.decimals);
        whole = whole.zip(addend.whole).and_then(|(sum, addend)| sum.checked_add(addend));
    }
    if !found {
        return None;
    }
    Some(whole.map_or_else(|| Value::Float(rounded(sum, decimals)), Value::Int))
}

struct Addend {
    value: f64,
    /// The value, if it is written as an integer that fits.
    whole: Option<i64>,
    /// Number of digits after the decimal point.
    decimals: usize,
}

fn addend(event: &Event, value: Value) -> Option<Addend> {
    match value {
        Value::Str(_) | Value::Plain(_) | Value::Number(_) => {}
        value => {
            return match event.as_number(value)? {
                Number::Int(whole) => Some(Addend { value: whole as f64, whole: Some(whole), decimals: 0 }),
                Number::Float(number) => spelled(&number.to_string()),
            };
        }
    }
    match value {
        Value::Number(text) => spelled(event.str(text)),
        value => spelled(event.as_str(value)?.trim()),
    }
}

fn spelled(text: &str) -> Option<Addend> {
    // Rust's parser accepts `inf` and `nan` too.
    if !text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) {
        return None;
    }
    let value = text.parse::<f64>().ok().filter(|value| value.is_finite())?;
    let decimals = match text.split_once('.') {
        _ if text.contains(['e', 'E']) => MOST_DECIMALS + 1,
        Some((_, fraction)) => fraction.len(),
        None => 0,
    };
    Some(Addend { value, whole: text.parse().ok(), decimals })
}

/// Returns the `f64` nearest to a sum of numbers with this many decimals; the sum itself if it is too large to be
/// corrected.
fn rounded(sum: f64, decimals: usize) -> f64 {
    let scale = 10_f64.powi(decimals.min(MOST_DECIMALS) as i32);
    let scaled = (sum * scale).round();
    if decimals > MOST_DECIMALS || scaled.abs() >= EXACT_UP_TO { sum } else { scaled / scale }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(list: &str) -> Option<String> {
        let mut event = Event::new();
        event.decode_json(format!("{{\"l\":{list}}}").as_bytes()).unwrap();
        let field = crate::event::FieldRef::parse("l").unwrap();
        let value = event.get(&field).unwrap();
        let sum = of(&mut event, value)?;
        let mut printed = String::new();
        event.print(sum, &mut printed);
        Some(printed)
    }

    #[test]
    fn numbers_are_added_and_the_rest_is_passed_over() {
        for (list, expected) in [
            (r#"["5.000", "0.004"]"#, Some("5.004")),
            (r#"["0.1", "0.2"]"#, Some("0.3")),
            (r#"[0.1, 0.2, "0.7"]"#, Some("1.0")),
            (r#"["0.100", "-"]"#, Some("0.1")),
            (r#"["0.000"]"#, Some("0.0")),
            (r#"["61", 100]"#, Some("161")),
            (r#"["61", "-", "0.5"]"#, Some("61.5")),
            (r#"["-", "", "nan", "inf", null, true, {}, [1]]"#, None),
            ("[]", None),
            (r#""1.5""#, Some("1.5")),
            (r#"["9223372036854775807", 1]"#, Some("9.223372036854776E18")),
            (r#"["1e3", "0.25"]"#, Some("1000.25")),
            (r#"["1e400"]"#, None),
        ] {
            assert_eq!(sum(list).as_deref(), expected, "{list}");
        }
        let many = vec!["\"0.001\""; 10_000].join(",");
        assert_eq!(sum(&format!("[{many}]")).as_deref(), Some("10.0"));
    }
}
