// A receiver that believes only what is signed. It needs Java 17 and nothing else.
//
// WEBHOOK_SECRETS="whsec_…" PORT=9000 java Verify.java

import com.sun.net.httpserver.Headers;
import com.sun.net.httpserver.HttpServer;
import java.io.ByteArrayOutputStream;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

class Verify {
    // Two of them while one is being exchanged.
    static final List<String> SECRETS = List.of(System.getenv("WEBHOOK_SECRETS").split(" "));
    static final long TOLERANCE_SECONDS = 300;

    /** Check `webhook-signature`, which covers the event's id, the time and the body. */
    static boolean isGenuine(Headers headers, byte[] body) throws GeneralSecurityException {
        String id = header(headers, "webhook-id");
        String timestamp = header(headers, "webhook-timestamp");
        if (!timestamp.matches("[0-9]{1,12}")
                || Math.abs(Instant.now().getEpochSecond() - Long.parseLong(timestamp)) > TOLERANCE_SECONDS) {
            return false;
        }
        var signed = new ByteArrayOutputStream();
        signed.writeBytes((id + "." + timestamp + ".").getBytes(StandardCharsets.UTF_8));
        signed.writeBytes(body);
        var expected = new ArrayList<String>();
        for (String secret : SECRETS) {
            byte[] key = Base64.getDecoder().decode(secret.replaceFirst("^whsec_", ""));
            expected.add("v1," + Base64.getEncoder().encodeToString(hmac(key, signed.toByteArray())));
        }
        return holdsOne(List.of(header(headers, "webhook-signature").split(" ")), expected);
    }

    /** Check `X-Hub-Signature-256`, which covers the body alone. */
    static boolean isGenuineByHub(Headers headers, byte[] body) throws GeneralSecurityException {
        var expected = new ArrayList<String>();
        for (String secret : SECRETS) {
            expected.add("sha256=" + HexFormat.of().formatHex(hmac(secret.getBytes(StandardCharsets.UTF_8), body)));
        }
        return holdsOne(List.of(header(headers, "X-Hub-Signature-256")), expected);
    }

    static byte[] hmac(byte[] key, byte[] signed) throws GeneralSecurityException {
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        return mac.doFinal(signed);
    }

    // Not `equals`: that ends at the first letter that differs, and so tells how much was right.
    static boolean holdsOne(List<String> sent, List<String> expected) {
        return sent.stream().anyMatch(one -> expected.stream().anyMatch(other -> MessageDigest.isEqual(
                one.getBytes(StandardCharsets.UTF_8), other.getBytes(StandardCharsets.UTF_8))));
    }

    static String header(Headers headers, String name) {
        String value = headers.getFirst(name);
        return value == null ? "" : value;
    }

    public static void main(String[] arguments) throws Exception {
        int port = Integer.parseInt(System.getenv("PORT"));
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.createContext("/", exchange -> {
            byte[] body = exchange.getRequestBody().readAllBytes(); // as they came: read them as JSON after the check
            boolean isGenuine = false;
            try {
                isGenuine = exchange.getRequestURI().getPath().equals("/hub")
                        ? isGenuineByHub(exchange.getRequestHeaders(), body)
                        : isGenuine(exchange.getRequestHeaders(), body);
            } catch (GeneralSecurityException impossible) { // every Java has HmacSHA256
                throw new IllegalStateException(impossible);
            }
            // Genuine: keep the body under its webhook-id, answer, and work on it afterwards. It may come again.
            exchange.sendResponseHeaders(isGenuine ? 204 : 401, -1);
            exchange.close();
        });
        server.start();
    }
}
