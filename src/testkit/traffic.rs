//! Realistic nginx traffic in Filebeat's envelope, from a seed: the same seed gives the same bytes.

use std::fmt::Write as _;

mod words;

use words::{AGENTS, COUNTRIES, ERRORS, HOSTS, PATHS, REFERRERS, SEARCHES, USERS};

/// A small random generator (xoshiro256++ seeded by splitmix64), kept here so that no dependency's update changes the bytes.
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// A generator with a seed.
    pub fn new(seed: u64) -> Self {
        let mut seed = seed;
        let mut next = || {
            seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ (mixed >> 31)
        };
        Random { state: [next(), next(), next(), next()] }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(end.max(1))) >> 64) as u64
    }

    /// True in `rate` of all cases.
    pub fn chance(&mut self, rate: f64) -> bool {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64 <= rate && rate > 0.0
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// One of these, the first ones far more often: traffic has favourites.
    pub fn favour<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let low = self.below(of.len() as u64).min(self.below(of.len() as u64)).min(self.below(of.len() as u64));
        &of[low as usize]
    }
}

/// Makes events.
#[derive(Clone, Debug)]
pub struct Traffic {
    random: Random,
    /// Share of lines that no grok pattern for nginx fits.
    malformed_rate: f64,
    /// Share of events from the error log.
    error_rate: f64,
    /// Time of the next event, milliseconds since 1970.
    clock_ms: u64,
    access_offset: u64,
    error_offset: u64,
    visitors: Visitors,
    line: String,
    message: String,
    parts: Vec<String>,
}

/// 2026-11-23T10:00:00Z: traffic begins at the same moment whenever it is made.
const FIRST_MS: u64 = 1_795_428_000_000;

impl Traffic {
    /// Traffic from a seed.
    pub fn new(seed: u64, malformed_rate: f64) -> Self {
        Traffic {
            random: Random::new(seed),
            malformed_rate,
            error_rate: 0.03,
            clock_ms: FIRST_MS,
            access_offset: 0,
            error_offset: 0,
            visitors: Visitors::default(),
            line: String::new(),
            message: String::new(),
            parts: Vec::new(),
        }
    }

    /// The next event, one line of JSON without its newline.
    pub fn next_event(&mut self) -> &str {
        self.clock_ms += self.random.below(7);
        let is_error = self.random.chance(self.error_rate);
        self.message.clear();
        match (self.random.chance(self.malformed_rate), is_error) {
            (true, _) => self.malformed(),
            (false, true) => self.error_line(),
            (false, false) => self.access_line(),
        }
        self.envelope(is_error);
        &self.line
    }

    /// The next plain log line, as nginx writes it, without envelope.
    pub fn next_line(&mut self) -> &str {
        self.clock_ms += self.random.below(7);
        self.message.clear();
        if self.random.chance(self.malformed_rate) {
            self.malformed();
        } else {
            self.access_line();
        }
        &self.message
    }

    fn access_line(&mut self) {
        let random = &mut self.random;
        let out = &mut self.message;
        self.visitors.address(random, out);
        let user = if random.chance(0.04) { *random.pick(USERS) } else { "-" };
        let _ = write!(out, " - {user} [{}] \"", Stamp(self.clock_ms));
        let method = match random.below(100) {
            0..85 => "GET",
            85..95 => "POST",
            95..97 => "HEAD",
            97..99 => "PUT",
            _ => "OPTIONS",
        };
        out.push_str(method);
        out.push(' ');
        target(random, out);
        out.push_str(if random.chance(0.3) { " HTTP/2.0\" " } else { " HTTP/1.1\" " });
        let status = match random.below(1_000) {
            0..820 => 200,
            820..870 => 304,
            870..900 => 301,
            900..915 => 302,
            915..960 => 404,
            960..970 => 403,
            970..975 => 401,
            975..980 => 499,
            980..990 => 206,
            990..995 => 502,
            995..998 => 500,
            _ => 503,
        };
        let size = match status {
            304 => 0,
            301 | 302 => 162 + random.below(20),
            400..=599 => 146 + random.below(500),
            _ => {
                let magnitude = random.below(12);
                200 + random.below(64 << magnitude)
            }
        };
        let _ = write!(out, "{status} {size} \"");
        match random.below(10) {
            0..4 => out.push('-'),
            4..7 => {
                let _ = write!(out, "https://{}", random.pick(HOSTS));
                target(random, out);
            }
            _ => out.push_str(random.pick::<&str>(REFERRERS)),
        }
        let _ = write!(out, "\" \"{}\"", random.favour(AGENTS));
    }

    fn error_line(&mut self) {
        let random = &mut self.random;
        let out = &mut self.message;
        let (level, text) = *random.pick(ERRORS);
        let worker = 20 + random.below(8);
        let _ = write!(
            out,
            "{} [{level}] {worker}#{worker}: *{} {text}, client: ",
            ErrorStamp(self.clock_ms),
            random.below(1 << 22)
        );
        self.visitors.address(random, out);
        let host = random.pick(HOSTS);
        let _ = write!(out, ", server: {host}, request: \"GET ");
        target(random, out);
        let _ = write!(out, " HTTP/1.1\", host: \"{host}\"");
    }

    /// Lines that turn up in real logs and fit no pattern: TLS on a plain port, cut lines, other programs' output.
    fn malformed(&mut self) {
        let random = &mut self.random;
        let out = &mut self.message;
        match random.below(5) {
            0 => {
                self.visitors.address(random, out);
                let _ = write!(
                    out,
                    " - - [{}] \"\\x16\\x03\\x01\\x02\\x00\\x01\\x00\\x01\" 400 157 \"-\" \"-\"",
                    Stamp(self.clock_ms)
                );
            }
            1 => {
                self.visitors.address(random, out);
                let _ = write!(out, " - - [{}] \"GET ", Stamp(self.clock_ms));
                target(random, out);
            }
            2 => out.push_str("worker process exited on signal 9"),
            3 => out.push_str("\u{feff}{\"not\": \"an access line\"}"),
            _ => {
                out.push_str("- - - ");
                target(random, out);
            }
        }
    }

    /// Filebeat writes the keys of an event in an order that varies, `@timestamp` and `@metadata` first.
    fn envelope(&mut self, is_error: bool) {
        let kind = if is_error { "error" } else { "access" };
        let offset = if is_error { &mut self.error_offset } else { &mut self.access_offset };
        let at = *offset;
        *offset += self.message.len() as u64 + 1;
        let node = self.random.below(12);
        self.parts.clear();
        let mut message = String::with_capacity(self.message.len() + 40);
        message.push_str("\"message\":");
        json_text(&self.message, &mut message);
        self.parts.push(message);
        self.parts.push(format!(
            "\"agent\":{{\"hostname\":\"web-{node:02}\",\"ephemeral_id\":\"8b64f5a6-d719-4ca9-8e53-1115aed9{node:04}\",\
             \"id\":\"a3dff22b-e2c9-4a4b-8d54-992f1a1c{node:04}\",\"name\":\"web-{node:02}\",\"type\":\"filebeat\",\"version\":\"7.17.29\"}}"
        ));
        self.parts.push(format!("\"log\":{{\"offset\":{at},\"file\":{{\"path\":\"/var/log/nginx/{kind}.log\"}}}}"));
        self.parts
            .push(format!("\"event\":{{\"module\":\"nginx\",\"dataset\":\"nginx.{kind}\",\"timezone\":\"+00:00\"}}"));
        self.parts.push(format!("\"fileset\":{{\"name\":\"{kind}\"}}"));
        self.parts.push(format!("\"host\":{{\"name\":\"web-{node:02}\"}}"));
        self.parts.extend(
            ["\"service\":{\"type\":\"nginx\"}", "\"input\":{\"type\":\"log\"}", "\"ecs\":{\"version\":\"1.12.0\"}"]
                .map(String::from),
        );
        for last in (1..self.parts.len()).rev() {
            let with = self.random.below(last as u64 + 1) as usize;
            self.parts.swap(last, with);
        }
        self.line.clear();
        let _ = write!(
            self.line,
            "{{\"@timestamp\":\"{}\",\"@metadata\":{{\"beat\":\"filebeat\",\"type\":\"_doc\",\"version\":\"7.17.29\",\
             \"pipeline\":\"filebeat-7.17.29-nginx-{kind}-pipeline\"}}",
            IsoStamp(self.clock_ms + self.random.below(1_000))
        );
        for part in &self.parts {
            self.line.push(',');
            self.line.push_str(part);
        }
        self.line.push('}');
    }
}

/// Who is on the site at the moment. A visitor makes six requests on average, as in the web log that Elastic publishes as an
/// example (10,000 lines, 1,753 addresses), and is then forgotten.
#[derive(Clone, Debug, Default)]
struct Visitors {
    addresses: Vec<String>,
}

impl Visitors {
    const AT_ONCE: u64 = 4_096;

    fn address(&mut self, random: &mut Random, out: &mut String) {
        let place = random.below(Visitors::AT_ONCE) as usize;
        match self.addresses.get_mut(place) {
            Some(known) if !random.chance(1.0 / 6.0) => out.push_str(known),
            Some(known) => {
                *known = new_address(random);
                out.push_str(known);
            }
            None => {
                let new = new_address(random);
                out.push_str(&new);
                self.addresses.push(new);
            }
        }
    }
}

/// Public addresses of many networks, some of IPv6, and now and then a private one.
fn new_address(random: &mut Random) -> String {
    match random.below(100) {
        0..8 => {
            let prefix = random.pick(&["2a02:8109", "2001:4860", "2600:1700", "2a01:e0a", "2408:8207"]);
            let (a, b, c) = (random.below(0xffff), random.below(0xffff), random.below(0xffff));
            format!("{prefix}:{a:x}:{b:x}::{c:x}")
        }
        8..10 => format!("10.{}.{}.{}", random.below(256), random.below(256), random.below(256)),
        _ => format!("{}.{}.{}.{}", 1 + random.below(223), random.below(256), random.below(256), 1 + random.below(254)),
    }
}

/// A path, often with a query.
fn target(random: &mut Random, out: &mut String) {
    out.push_str(random.favour::<&str>(PATHS));
    if random.chance(0.4) {
        let _ = write!(out, "/{}", random.below(100_000));
    }
    if random.chance(0.35) {
        let _ = write!(out, "?page={}&q={}", random.below(50), random.pick(SEARCHES));
        if random.chance(0.3) {
            let _ = write!(out, "&utm_source=newsletter&lang={}", random.pick(COUNTRIES));
        }
    }
}

fn json_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Year, month, day, hour, minute, second, millisecond of milliseconds since 1970.
fn civil(ms: u64) -> (u64, u64, u64, u64, u64, u64, u64) {
    let (days, rest) = (ms / 86_400_000, ms % 86_400_000);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day, rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60, rest % 1_000)
}

struct Stamp(u64);

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let (year, month, day, hour, minute, second, _) = civil(self.0);
        write!(f, "{day:02}/{}/{year}:{hour:02}:{minute:02}:{second:02} +0000", MONTHS[month as usize - 1])
    }
}

struct ErrorStamp(u64);

impl std::fmt::Display for ErrorStamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (year, month, day, hour, minute, second, _) = civil(self.0);
        write!(f, "{year}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

struct IsoStamp(u64);

impl std::fmt::Display for IsoStamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (year, month, day, hour, minute, second, milli) = civil(self.0);
        write!(f, "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let all = |seed| {
            let mut traffic = Traffic::new(seed, 0.01);
            (0..2_000).map(|_| traffic.next_event().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
    }

    #[test]
    fn events_are_json_of_the_size_of_real_ones() {
        let mut traffic = Traffic::new(7, 0.05);
        let (mut bytes, mut errors) = (0, 0);
        for _ in 0..5_000 {
            let event: serde_json::Value = serde_json::from_str(traffic.next_event()).unwrap();
            bytes += traffic.line.len();
            errors += usize::from(event["event"]["dataset"] == "nginx.error");
            assert!(
                event["message"].is_string() && event["@timestamp"].as_str().unwrap().starts_with("2026-11-23T10:")
            );
        }
        let mean = bytes / 5_000;
        assert!((780..950).contains(&mean), "{mean}");
        assert!((50..300).contains(&errors), "{errors}");
    }

    #[test]
    fn days_are_counted_right() {
        assert_eq!(IsoStamp(FIRST_MS).to_string(), "2026-11-23T10:00:00.000Z");
        assert_eq!(IsoStamp(951_782_400_000).to_string(), "2000-02-29T00:00:00.000Z");
        assert_eq!(Stamp(0).to_string(), "01/Jan/1970:00:00:00 +0000");
    }
}
