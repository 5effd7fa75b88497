//! The fields of geoip records: their paths in the databases and their names in an event.
//!
//! MaxMind's databases are nested (`city.names.en`, `location.latitude`), DB-IP's npm packages are flat (`city`,
//! `latitude`); a field is looked up at both paths.

/// One field of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GeoField {
    /// The address itself, in the form in which Java prints it.
    Ip,
    CityName,
    ContinentCode,
    ContinentName,
    CountryName,
    CountryCode2,
    CountryCode3,
    RegionName,
    RegionCode,
    RegionIsoCode,
    PostalCode,
    DmaCode,
    TimeZone,
    Location,
    Latitude,
    Longitude,
    AsNumber,
    AsOrganization,
    Isp,
    Organization,
    Domain,
    Anonymous,
    AnonymousVpn,
    HostingProvider,
    PublicProxy,
    ResidentialProxy,
    TorExitNode,
    Network,
}

/// A row of the table of fields.
pub struct Row {
    pub field: GeoField,
    /// Names of the field in the option `fields`.
    pub names: &'static [&'static str],
    /// Key under the target without ECS.
    pub legacy: &'static str,
    /// Path under the target with ECS; empty if ECS has no such field.
    pub ecs: &'static [&'static str],
    /// Paths in the databases, of which the first existing one is used.
    pub paths: &'static [&'static [&'static str]],
}

const fn row(
    field: GeoField,
    names: &'static [&'static str],
    legacy: &'static str,
    ecs: &'static [&'static str],
    paths: &'static [&'static [&'static str]],
) -> Row {
    Row { field, names, legacy, ecs, paths }
}

use GeoField::*;

/// All fields, in output order.
pub static ROWS: &[Row] = &[
    row(Ip, &["ip"], "ip", &["ip"], &[]),
    row(CityName, &["city_name"], "city_name", &["geo", "city_name"], &[&["city", "names", "en"], &["city"]]),
    row(ContinentCode, &["continent_code"], "continent_code", &["geo", "continent_code"], &[&["continent", "code"]]),
    row(
        ContinentName,
        &["continent_name"],
        "continent_name",
        &["geo", "continent_name"],
        &[&["continent", "names", "en"]],
    ),
    row(CountryName, &["country_name"], "country_name", &["geo", "country_name"], &[&["country", "names", "en"]]),
    row(
        CountryCode2,
        &["country_code2", "country_iso_code"],
        "country_code2",
        &["geo", "country_iso_code"],
        &[&["country", "iso_code"], &["country_code"]],
    ),
    row(CountryCode3, &["country_code3"], "country_code3", &[], &[&["country", "iso_code"], &["country_code"]]),
    row(
        RegionName,
        &["region_name"],
        "region_name",
        &["geo", "region_name"],
        &[&["subdivisions", "last", "names", "en"], &["state1"]],
    ),
    row(RegionCode, &["region_code"], "region_code", &["geo", "region_code"], &[&["subdivisions", "last", "iso_code"]]),
    row(RegionIsoCode, &["region_iso_code"], "region_iso_code", &["geo", "region_iso_code"], &[]),
    row(PostalCode, &["postal_code"], "postal_code", &["geo", "postal_code"], &[&["postal", "code"], &["postcode"]]),
    row(DmaCode, &["dma_code"], "dma_code", &["mmdb", "dma_code"], &[&["location", "metro_code"]]),
    row(TimeZone, &["timezone"], "timezone", &["geo", "timezone"], &[&["location", "time_zone"], &["timezone"]]),
    row(Location, &["location"], "location", &["geo", "location"], &[]),
    row(Latitude, &["latitude"], "latitude", &["geo", "location", "lat"], &[&["location", "latitude"], &["latitude"]]),
    row(
        Longitude,
        &["longitude"],
        "longitude",
        &["geo", "location", "lon"],
        &[&["location", "longitude"], &["longitude"]],
    ),
    row(AsNumber, &["autonomous_system_number", "asn"], "asn", &["as", "number"], &[&["autonomous_system_number"]]),
    row(
        AsOrganization,
        &["autonomous_system_organization", "as_org"],
        "as_org",
        &["as", "organization", "name"],
        &[&["autonomous_system_organization"]],
    ),
    row(Isp, &["isp"], "isp", &["mmdb", "isp"], &[&["isp"]]),
    row(Organization, &["organization"], "organization", &["mmdb", "organization"], &[&["organization"]]),
    row(Domain, &["domain"], "domain", &["domain"], &[&["domain"]]),
    row(Anonymous, &["anonymous"], "anonymous", &["ip_traits", "anonymous"], &[&["is_anonymous"]]),
    row(AnonymousVpn, &["anonymous_vpn"], "anonymous_vpn", &["ip_traits", "anonymous_vpn"], &[&["is_anonymous_vpn"]]),
    row(
        HostingProvider,
        &["hosting_provider"],
        "hosting_provider",
        &["ip_traits", "hosting_provider"],
        &[&["is_hosting_provider"]],
    ),
    row(PublicProxy, &["public_proxy"], "public_proxy", &["ip_traits", "public_proxy"], &[&["is_public_proxy"]]),
    row(
        ResidentialProxy,
        &["residential_proxy"],
        "residential_proxy",
        &["ip_traits", "residential_proxy"],
        &[&["is_residential_proxy"]],
    ),
    row(TorExitNode, &["tor_exit_node"], "tor_exit_node", &["ip_traits", "tor_exit_node"], &[&["is_tor_exit_node"]]),
    row(Network, &["network"], "network", &["mmdb", "network"], &[]),
];

impl GeoField {
    /// Returns the field with a name from the option `fields`.
    pub fn named(name: &str) -> Option<GeoField> {
        let name = name.to_ascii_lowercase();
        ROWS.iter().find(|row| row.names.contains(&name.as_str())).map(|row| row.field)
    }

    /// Returns whether the field depends on the address itself, not only on its record.
    pub fn is_of_address(self) -> bool {
        matches!(self, Ip | Network)
    }

    /// Returns whether a missing value means `false`.
    pub fn is_flag(self) -> bool {
        matches!(self, Anonymous | AnonymousVpn | HostingProvider | PublicProxy | ResidentialProxy | TorExitNode)
    }
}

/// Returns the names of the fields directly under the target.
pub fn names(ecs: bool) -> impl Iterator<Item = &'static str> {
    ROWS.iter().filter_map(move |row| if ecs { row.ecs.first().copied() } else { Some(row.legacy) })
}

/// Returns the fields that a type of database adds if the option `fields` is not set, as in Logstash.
pub fn defaults(database_type: &str, ecs: bool) -> &'static [GeoField] {
    const CITY: &[GeoField] = &[
        Ip,
        CityName,
        ContinentCode,
        CountryName,
        CountryCode2,
        CountryCode3,
        PostalCode,
        DmaCode,
        RegionName,
        RegionCode,
        TimeZone,
        Location,
        Latitude,
        Longitude,
    ];
    const CITY_ECS: &[GeoField] = &[
        Ip,
        CityName,
        ContinentCode,
        CountryName,
        CountryCode2,
        PostalCode,
        DmaCode,
        RegionName,
        RegionIsoCode,
        TimeZone,
        Location,
    ];
    if database_type.contains("Enterprise") {
        &[Ip, CountryCode2, CountryName, ContinentName, RegionIsoCode, RegionName, CityName, Location]
    } else if database_type.contains("Country") {
        &[Ip, CountryCode2, CountryName, ContinentName]
    } else if database_type.contains("ASN") {
        &[Ip, AsNumber, AsOrganization]
    } else if database_type.contains("ISP") {
        &[Ip, AsNumber, AsOrganization, Isp, Organization]
    } else if database_type.contains("Anonymous") {
        &[HostingProvider, TorExitNode, AnonymousVpn, Anonymous, PublicProxy, ResidentialProxy]
    } else if database_type.contains("Domain") {
        &[Domain]
    } else if ecs {
        CITY_ECS
    } else {
        CITY
    }
}
