"""Texts with personal data and secrets that people marked: [[kind|value]]. The values are made up, or test numbers."""

from __future__ import annotations

import re
from typing import NamedTuple

MARKED = """\
Please write to [[email|anna.maier@example.org]] about the parcel.
My address is [[email|Bob.Smith+shop@mail.example.co.uk]], not [[email|bob@example.com]].
Kontakt: [[email|jürgen@müller.example]] oder [[phone|+49 (0)30 901820]]
cc [[email|x_y-z%1@sub.domain.example.travel]]; thanks
<mailto:[[email|info@example.io]]?subject=hello>
https://example.org/reset?mail=[[email|carla%40example.net]]&lang=de
"[[email|o'brien@example.ie]]" wrote this yesterday
Senden Sie es an [[email|ANNA@EXAMPLE.ORG]].
user=[[email|first.last@example.org]],role=admin
email:[[email|d@e.fr]]
Reach me at [[email|anna at example dot org]]
Ruf an: [[phone|+49 30 1234567]]
Telefon [[phone|030/1234567]] oder mobil [[phone|0171 2345678]]
Call [[phone|(415) 555-0123]] before noon
US office: [[phone|415-555-0199]]; UK office: [[phone|+44 20 7946 0958]]
fax [[phone|+1.212.555.0142]]
[[phone|0049 89 123456]] is the number in Munich
My mobile is [[phone|07700 900123]]
tel:[[phone|+33142685300]]
Phone number: [[phone|4155550123]]
whatsapp me on [[phone|5551234567]]
Numéro: [[phone|+33 1 42 68 53 00]]
Appelez le [[phone|01 42 68 53 00]]
call me [[phone|555-0123]]
+[[phone|1 (650) 555-0100]]
Meine Nummer ist [[phone|+43 1 5880 01000]]
Dial [[phone|+91-98765-43210]] for support
[[phone|+81 3-1234-5678]]
ring [[phone|020 7946 0018]]
[[card|4111 1111 1111 1111]] exp 12/28 cvc 123
card number [[card|5555555555554444]]
my amex [[card|3782 822463 10005]] was refused
[[card|6011-1111-1111-1117]] and [[card|3530111333300000]]
Diners: [[card|30569309025904]]
pay with [[card|4012888888881881]].
Karte: [[card|5105 1051 0510 5100]], danke
[[card|4222222222222]] is an old one
{"pan":"[[card|4000056655665556]]"}
UnionPay [[card|6200000000000005]]
Mastercard [[card|2223003122003222]]
[[iban|DE89 3704 0044 0532 0130 00]]
IBAN: [[iban|GB82WEST12345698765432]]
Bitte auf [[iban|AT61 1904 3002 3457 3201]] zahlen
[[iban|FR14 2004 1010 0505 0001 3M02 606]], merci
konto [[iban|ch9300762011623852957]]
[[iban|NL91 ABNA 0417 1643 00]]
[[iban|ES91 2100 0418 4502 0005 1332]]
[[iban|IT60 X054 2811 1010 0000 0123 456]]
[[iban|PL61 1090 1014 0000 0712 1981 2874]]
[[iban|NO93 8601 1117 947]]
the server [[ip|192.168.17.4]] does not answer
from [[ip|203.0.113.77]]:443
ping [[ip|2001:db8:85a3::8a2e:370:7334]]
[[ip|fe80::1]] on eth0
hosts: [[ip|10.0.0.1]], [[ip|10.0.0.2]]
client=[[ip|198.51.100.23]];
http://[[ip|172.16.254.1]]/status
[[[ip|2001:db8::ff00:42:8329]]]:8080
my key is [[secret|sk-proj-a1B2c3D4e5F6g7H8i9J0k1L2]]
OPENAI_API_KEY=[[secret|sk-abcdefghijklmnopqrstuvwx]]
[[secret|sk-ant-api03-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789]]
stripe [[secret|sk_live_51HabcDEFghiJKL]]
git clone with [[secret|ghp_16C7e42F292c6912E7710c838347Ae178B4a]]
[[secret|github_pat_11ABCDEFG0abcdefghij_klmnopqrstuvwxyz]]
glab: [[secret|glpat-AbCdEf1234567890wxyz]]
[[secret|xoxb-123456789012-abcdefGHIJKL]]
AWS [[secret|AKIAIOSFODNN7EXAMPLE]]
aws_secret_access_key = [[secret|wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY]]
google [[secret|AIzaSyA1234567890abcdefghijklmnopqrstuv]]
[[secret|hf_abcdefghijKLMNOPQRST123456]]
Authorization: Bearer [[secret|mF_9.B5f-4.1JqM]]
[[secret|eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N]]
password: [[secret|hunter2]]
Passwort: [[secret|Sonne!2024]]
the password is [[secret|c0rrecth0rse]]
pwd=[[secret|letmein99]]
postgres://app:[[secret|s3cr3t-pw]]@db.internal/shop
"api_key": "[[secret|abcdef0123456789]]"
apiKey: '[[secret|zzTop-998877]]'
client_secret=[[secret|Zx9-Qw8-Er7]]
pin: [[secret|4711]]
token=[[secret|9f86d081884c7d659a2feaa0c55ad015]]
[[secret|9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08]]
SG: [[secret|SG.abcdefghijkl.mnopqrstuvwxyz0123]]
it is tt [[secret|tt_0123456789abcdef0123456789abcdef]]
seed [[secret|Xq7Rt2Lp9Vz4Bn8Kc5Wm3Jd6]]
my secret word was [[secret|swordfish]]
it opens with [[secret|tr0ub4dor&3]]
reach me under [[phone|4155550123]]
zero three zero, [[phone|one two three four five six seven]]
[[card|4111.1111.1111.1111]] is my card
card [[card|four one one one 1111 1111 1111]]
IBAN [[iban|DE89.3704.0044.0532.0130.00]]
root login at [[email|admin@intranet]]
[[ip|192.168.1]] is our network
credentials: [[secret|root/toor99]]
npm [[secret|npm_abcdefghijklmnopqrstuvwxyz0123456789]]
"""
PLAIN = """\
The meeting is on 2026-11-28 at 12:30:45.
Order 1234567890123 has 3 items at 19.99 each.
Version 1.2.3 came out on 01.02.2026.
It costs 0.123456789 a token, 1,234,567.89 in all.
See section 4.2.1 and table 12-3.
Invoice 2026-000123 is paid.
The token is expired, and the password is required.
@anna and @bob liked this.
Ticket 998-22 was closed after 45 minutes.
uuid 123e4567-e89b-12d3-a456-426614174000
Serial 4111 1111 1111 1112 has a wrong digit.
DE00 3704 0044 0532 0130 00 is no account.
a ratio of 16:9 or 4:3
std::vector<int> values;
Please select getUserByIdentifier from the AccountServiceFactory.
The basic idea is simple; a key question remains: why?
secretary: Ms. Jones; passenger: Mr. Lee
1234567
300 x 250 x 100 mm
Flight LH 1234 leaves gate 17 at 07:45.
Temperature: 21.5 degrees, pressure 1013.25 hPa
http://example.org/articles/2026/11/how-to-write-a-good-prompt
10/12/2026 - 14/12/2026
room 0123, floor 4
6:30, 7:45, 8:15
"""
KINDS = ("email", "phone", "card", "iban", "ip", "secret")
_MARK = re.compile(r"\[\[(\w+)\|(.+?)\]\]")


class Labelled(NamedTuple):
    """A text, and the (kind, value) pairs in it."""

    text: str
    values: list[tuple[str, str]]


def labelled() -> list[Labelled]:
    """Return the marked texts and those without anything to find."""
    return [
        Labelled(_MARK.sub(r"\2", line), [(found[1], found[2]) for found in _MARK.finditer(line)])
        for line in (MARKED + PLAIN).splitlines()
    ]
