# Writes files into a header, as one constant of text each.
#   cmake -DOUT=header -DFILES=kName=path,... -P embed.cmake
string(REPLACE "," ";" entries "${FILES}")
set(text "// Made by cmake/embed.cmake.\n#pragma once\n\n#include <string_view>\n\n")
foreach(entry ${entries})
  string(REGEX MATCH "^([^=]+)=(.*)$" whole "${entry}")
  set(name ${CMAKE_MATCH_1})
  file(READ "${CMAKE_MATCH_2}" content)
  if(content MATCHES "\\)leeward\"")
    message(FATAL_ERROR "${CMAKE_MATCH_2} holds what ends a constant")
  endif()
  string(APPEND text "inline constexpr std::string_view ${name} = R\"leeward(${content})leeward\";\n")
endforeach()
file(WRITE "${OUT}" "${text}")
