//! Comparison of the tree lookup and the record reader with the crate `maxminddb`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use maxminddb::{LookupResult, PathElement, Reader, WithinOptions};
use serde_json::{Map, Value};

use super::database::Database;
use super::describe::Describer;
use super::fields::{GeoField, ROWS, defaults};
use super::mapped::Mapped;
use super::{CacheSize, GeoIp, Options, mapped};
use crate::event::tests::printed;
use crate::event::{Event, FieldRef, Timestamp};
use crate::filter::{Context, Filter};

fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [
        "pipelines/geoip",
        "tests/conformance/maxmind-db/test-data",
        "tests/conformance/maxmind-db/bad-data/libmaxminddb",
    ];
    let folders = folders.iter().flat_map(|folder| std::fs::read_dir(root.join(folder)).unwrap());
    folders
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "mmdb"))
        .collect()
}

/// Returns addresses at the boundaries of a database's networks, next to them, and at random.
fn addresses(reader: &Reader<Mapped>) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for result in reader.networks(WithinOptions::default()).into_iter().flatten().take(2_000) {
        let Some(network) = result.ok().and_then(|result| result.network().ok()) else { continue };
        for address in [network.network(), network.broadcast()] {
            found.push(address);
            for step in [1, u32::MAX] {
                found.push(match address {
                    IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits().wrapping_add(step)).into(),
                    IpAddr::V6(address) => {
                        Ipv6Addr::from_bits(address.to_bits().wrapping_add_signed(i128::from(step as i32))).into()
                    }
                });
            }
            if let IpAddr::V6(address) = address
                && address.to_bits() >> 32 == 0
            {
                found.push(Ipv4Addr::from_bits(address.to_bits() as u32).into());
            }
        }
    }
    let mut state = 7_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 32
    };
    for _ in 0..5_000 {
        found.push(Ipv4Addr::from_bits(random() as u32).into());
        found.push(
            Ipv6Addr::from_bits(u128::from(0x2001_0000 | random() & 0xffff) << 96 | u128::from(random()) << 64).into(),
        );
    }
    found.extend(
        ["::ffff:81.2.69.142", "::81.2.69.142", "2002:5102:458e::", "::", "0.0.0.0", "255.255.255.255"]
            .map(|text| text.parse::<IpAddr>().unwrap()),
    );
    found
}

#[test]
fn a_record_is_found_where_the_crate_finds_it_and_says_what_the_crate_reads() {
    let (mut asked, mut known) = (0, 0);
    for file in files() {
        let Ok(database) = Database::open(&file) else { continue };
        let reader = Reader::from_source(mapped::map(&file).unwrap()).unwrap();
        let opened = database.current();
        let young = opened.tree().grow_up();
        let all: Vec<GeoField> = ROWS.iter().map(|row| row.field).collect();
        let whole = file.file_name().is_some_and(|name| !name.to_string_lossy().starts_with("libmaxminddb"));
        for (fields, ecs) in [(Some(&all[..]), false), (Some(&all[..]), true), (None, false), (None, true)] {
            let mut describer = Describer::new(&[Arc::clone(&opened)], fields, ecs);
            for address in addresses(&reader) {
                let expected = reader.lookup(address);
                let offset = expected.as_ref().ok().and_then(LookupResult::offset);
                assert_eq!(
                    (opened.record_of(address), young.find(address)),
                    (offset, offset),
                    "{address} in {}",
                    file.display()
                );
                let got =
                    describer.describe(address, &[offset]).map(|json| serde_json::from_str::<Value>(json).unwrap());
                asked += 1;
                known += usize::from(got.is_some());
                // For a corrupt record, the values may differ from the crate's; the test is that reading it does not
                // fail.
                if whole {
                    let fields = fields.unwrap_or_else(|| defaults(opened.kind(), ecs));
                    let expected =
                        expected.ok().and_then(|result| by_the_crate(&result, opened.kind(), fields, ecs, address));
                    assert_eq!(got, expected, "{address} in {}", file.display());
                }
            }
        }
    }
    assert!(asked > 100_000 && known > 10_000, "{known} of {asked}");
}

/// Returns the same fields, each looked up by the crate.
fn by_the_crate(
    result: &LookupResult<'_, Mapped>,
    kind: &str,
    fields: &[GeoField],
    ecs: bool,
    address: IpAddr,
) -> Option<Value> {
    if !result.has_data() {
        return None;
    }
    let mut out = Value::Object(Map::new());
    let (mut any, mut only_ip) = (false, true);
    for row in ROWS.iter().filter(|row| fields.contains(&row.field)) {
        let Some(value) = read(result, row.field, address) else { continue };
        only_ip &= row.field == GeoField::Ip;
        let path: &[&str] = if ecs { row.ecs } else { &[row.legacy] };
        let mut at = &mut out;
        for name in path {
            at = &mut at[*name];
        }
        if !path.is_empty() {
            *at = value;
            any = true;
        }
    }
    (any && !(only_ip && kind.contains("City"))).then_some(out)
}

fn read(result: &LookupResult<'_, Mapped>, wanted: GeoField, address: IpAddr) -> Option<Value> {
    match wanted {
        GeoField::Ip => match address {
            IpAddr::V4(address) => Some(address.to_string().into()),
            IpAddr::V6(address) => Some(address.segments().map(|group| format!("{group:x}")).join(":").into()),
        },
        GeoField::Location => Some(
            serde_json::json!({ "lat": field(result, GeoField::Latitude)?, "lon": field(result, GeoField::Longitude)? }),
        ),
        GeoField::RegionIsoCode => {
            let (country, region) = (field(result, GeoField::CountryCode2)?, field(result, GeoField::RegionCode)?);
            Some(format!("{}-{}", country.as_str()?, region.as_str()?).into())
        }
        GeoField::Network => Some(result.network().ok()?.to_string().into()),
        other => field(result, other).or_else(|| other.is_flag().then_some(false.into())),
    }
}

fn field(result: &LookupResult<'_, Mapped>, wanted: GeoField) -> Option<Value> {
    let row = ROWS.iter().find(|row| row.field == wanted)?;
    row.paths.iter().find_map(|path| {
        let element =
            |name: &&'static str| if *name == "last" { PathElement::IndexFromEnd(0) } else { PathElement::Key(name) };
        let elements: Vec<PathElement<'_>> = path.iter().map(element).collect();
        let value = match wanted {
            GeoField::Latitude | GeoField::Longitude => match result.decode_path::<f64>(&elements) {
                Ok(number) => number.map(Value::from),
                Err(_) => result.decode_path::<f32>(&elements).ok()?.and_then(|single| single.to_string().parse().ok()),
            },
            _ => result.decode_path::<Value>(&elements).ok()?,
        };
        value.filter(|value| value.as_str() != Some("") && !value.is_object() && !value.is_array())
    })
}

/// Workers share a cache so small that it is replaced again and again; their results must equal those of the databases.
#[test]
fn what_is_remembered_is_what_the_databases_say() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/geoip/GeoLite2-City-Test.mmdb");
    let field = |name: &str| FieldRef::parse(name).unwrap().lasting();
    let options = |fields| {
        let (databases, known) = (vec![Database::open(&file).unwrap()], Mutex::default());
        let (source, target) = (field("ip"), field("geo"));
        Arc::new(Options {
            source,
            target,
            databases,
            fields,
            tag_on_failure: Vec::new(),
            allow_special: false,
            ecs: false,
            cache_size: CacheSize::fixed(1),
            known,
        })
    };
    for fields in [None, Some(vec![GeoField::CityName, GeoField::CountryName])] {
        let options = options(fields);
        let mut workers = [GeoIp::new(Arc::clone(&options)), GeoIp::new(Arc::clone(&options))];
        let mut describer = Describer::new(&[options.databases[0].current()], options.fields.as_deref(), false);
        let first = Arc::clone(&workers[0].known);
        for round in 0..3_000_u32 {
            let (number, host) = (round.wrapping_mul(2_654_435_761) >> 8, (round * 7) % 256);
            let addresses = [
                format!("67.43.156.{host}"),
                format!("175.16.199.{}", number % 256),
                format!("2001:218::{:x}", number % 2_000),
                "10.0.0.1".to_string(),
            ];
            let events: Vec<Event> =
                addresses.iter().map(|address| event(&format!(r#"{{"ip":"{address}"}}"#))).collect();
            let worker = &mut workers[round as usize % 2];
            if round % 3 != 0 {
                worker.approach(&events.iter().collect::<Vec<_>>());
            }
            for (mut event, text) in events.into_iter().zip(&addresses) {
                worker.run(&mut event, &mut Context::new(Timestamp::now(), 1));
                let address: IpAddr = text.parse().unwrap();
                let mut records = Vec::new();
                describer.records_of(address, &mut records);
                let expected = describer.describe(address, &records).unwrap_or("{}");
                assert_eq!(printed(&event), format!(r#"{{"ip":"{text}","geo":{expected}}}"#));
            }
            if round % 10 == 0 {
                worker.between_batches();
            }
        }
        assert_eq!(
            Arc::ptr_eq(&first, &workers[0].known),
            options.fields.is_some(),
            "forgotten where each address has a fact of its own"
        );
        workers.iter_mut().for_each(Filter::between_batches);
        assert!(Arc::ptr_eq(&workers[0].known, &workers[1].known));
    }
}

fn event(json: &str) -> Event {
    let mut event = Event::versed();
    event.decode_json(json.as_bytes()).unwrap();
    event
}
